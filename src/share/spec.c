/* SPDX-License-Identifier: Apache-2.0
 * What --share says.
 */
#include <stdlib.h>

#include "share/share.h"

static int set_cache(struct share_spec *s, const char *val, struct err *e)
{
	static const char *const names[] = {
		[SHARE_CACHE_AUTO] = "auto", [SHARE_CACHE_NONE] = "none", [SHARE_CACHE_ALWAYS] = "always"
	};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(val, names[i])) {
			s->cache = (enum share_cache)i;
			return 0;
		}
	return err_set(e, "--share: cache=%.40s is none of auto, none and always", val);
}

static int set_word(struct share_spec *s, const char *word, struct err *e)
{
	if (!strcmp(word, "ro"))
		s->readonly = true;
	else if (!strcmp(word, "noxattr"))
		s->no_xattr = true;
	else if (!strcmp(word, "locks"))
		s->locks = true;
	else if (!strcmp(word, "writeback"))
		s->writeback = true;
	else if (!strncmp(word, "cache=", 6))
		return set_cache(s, word + 6, e);
	else
		return err_set(e, "--share does not know '%.60s': give ro, cache=, writeback, locks or noxattr", word);
	return 0;
}

/* The last name of the path. */
static void default_tag(struct share_spec *s)
{
	char path[sizeof(s->dir)], *p = realpath(s->dir, NULL), *name;

	memcpy(path, s->dir, sizeof(path));
	if (p && strlen(p) < sizeof(path))
		memcpy(path, p, strlen(p) + 1);
	free(p);
	name = strrchr(path, '/');
	name = name ? name + 1 : path;
	memset(s->tag, 0, sizeof(s->tag));
	memcpy(s->tag, *name ? name : "root", MIN(strlen(*name ? name : "root"), (size_t)SHARE_TAG_MAX));
}

static int split_tag(struct share_spec *s, struct err *e)
{
	char *colon = strrchr(s->dir, ':');

	if (!colon) {
		default_tag(s);
		return 0;
	}
	*colon++ = 0;
	if (!*colon || strlen(colon) > SHARE_TAG_MAX || !s->dir[0])
		return err_set(e, "--share '%.60s:%.60s': give DIR:TAG, with a tag of 1 to %d bytes", s->dir, colon,
			       SHARE_TAG_MAX);
	memcpy(s->tag, colon, strlen(colon) + 1);
	return 0;
}

/* A doubled comma stands for one. */
static int split_dir(struct share_spec *s, const char **text, struct err *e)
{
	const char *t = *text;
	size_t n = 0;

	for (; *t && (*t != ',' || t[1] == ','); t++) {
		if (n == sizeof(s->dir) - 1)
			return err_set(e, "--share '%.60s…' is too long", *text);
		s->dir[n++] = *t;
		t += *t == ',';
	}
	*text = t;
	return n ? 0 : err_set(e, "--share: give a directory, DIR or DIR:TAG");
}

int share_parse(struct share_spec *s, const char *text, struct err *e)
{
	char word[64];

	*s = (struct share_spec){ 0 };
	if (split_dir(s, &text, e) || split_tag(s, e))
		return -1;
	while (*text == ',') {
		size_t n = strcspn(++text, ",");

		if (n >= sizeof(word))
			return err_set(e, "--share does not know '%.60s…'", text);
		memcpy(word, text, n);
		word[n] = 0;
		if (set_word(s, word, e))
			return -1;
		text += n;
	}
	if (s->writeback && (s->cache != SHARE_CACHE_ALWAYS || s->readonly))
		return err_set(e, "--share: writeback goes with cache=always, and not with ro");
	return 0;
}
