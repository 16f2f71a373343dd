/* SPDX-License-Identifier: Apache-2.0 */
#include "debug/symbols.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A name past this distance says more about a gap in the table than about the address. */
#define NEAR_LIMIT (1u << 20)

struct symbol {
	u64 addr;
	const char *name; /* into `text` */
};

struct symbols {
	struct symbol *v;
	size_t n, room;
	char *text; /* private copy of the file, with names terminated */
	size_t size;
};

static int by_address(const void *a, const void *b)
{
	u64 x = ((const struct symbol *)a)->addr, y = ((const struct symbol *)b)->addr;

	return x < y ? -1 : x > y;
}

static bool add(struct symbols *s, u64 addr, const char *name)
{
	if (s->n == s->room) {
		size_t room = s->room ? 2 * s->room : 4096;
		struct symbol *v = realloc(s->v, room * sizeof(*v));

		if (!v)
			return false;
		s->v = v;
		s->room = room;
	}
	s->v[s->n++] = (struct symbol){ addr, name };
	return true;
}

/* "ffffffff81000000 T _text" and, from kallsyms, "\t[module]" behind it. */
static bool parse_map(struct symbols *s)
{
	char *p = s->text;

	while (*p) {
		char *end = strchr(p, '\n'), *q;
		u64 addr = strtoull(p, &q, 16);

		if (end)
			*end = 0;
		if (q != p && q[0] == ' ' && q[1] && q[2] == ' ' && q[3]) {
			q += 3;
			q[strcspn(q, "\t ")] = 0;
			if (!add(s, addr, q))
				return false;
		}
		if (!end)
			break;
		p = end + 1;
	}
	return true;
}

/* The i-th section header if it and its contents lie inside the file. */
static bool section(const struct symbols *s, unsigned i, Elf64_Shdr *sh)
{
	Elf64_Ehdr eh;

	memcpy(&eh, s->text, sizeof(eh));
	if (i >= eh.e_shnum || eh.e_shentsize != sizeof(*sh) || eh.e_shoff > s->size ||
	    (s->size - eh.e_shoff) / sizeof(*sh) <= i)
		return false;
	memcpy(sh, s->text + eh.e_shoff + i * sizeof(*sh), sizeof(*sh));
	return sh->sh_type == SHT_NOBITS || (sh->sh_offset <= s->size && sh->sh_size <= s->size - sh->sh_offset);
}

static bool parse_symtab(struct symbols *s, const Elf64_Shdr *sym, const Elf64_Shdr *str)
{
	if (!str->sh_size || s->text[str->sh_offset + str->sh_size - 1])
		return true;
	for (u64 k = 0; k + sizeof(Elf64_Sym) <= sym->sh_size; k += sizeof(Elf64_Sym)) {
		Elf64_Sym y;

		memcpy(&y, s->text + sym->sh_offset + k, sizeof(y));
		if (ELF64_ST_TYPE(y.st_info) > STT_FUNC || !y.st_name || y.st_name >= str->sh_size ||
		    y.st_shndx == SHN_UNDEF)
			continue;
		if (!add(s, y.st_value, s->text + str->sh_offset + y.st_name))
			return false;
	}
	return true;
}

static bool parse_elf(struct symbols *s)
{
	Elf64_Shdr sym, str;

	for (unsigned i = 0; i < 65535 && section(s, i, &sym); i++)
		if (sym.sh_type == SHT_SYMTAB && section(s, sym.sh_link, &str) && str.sh_type == SHT_STRTAB)
			return parse_symtab(s, &sym, &str);
	return true;
}

static int read_file(struct symbols *s, const char *file, struct err *e)
{
	struct stat st;
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t got = -1;

	if (fd < 0)
		return err_errno(e, "cannot read symbols from %s", file);
	if (!fstat(fd, &st) && (s->text = malloc((size_t)st.st_size + (1 << 20)))) {
		size_t room = (size_t)st.st_size + (1 << 20) - 1;

		while (s->size < room && (got = read(fd, s->text + s->size, room - s->size)) > 0)
			s->size += (size_t)got;
		s->text[s->size] = 0;
	}
	close(fd);
	return got < 0 ? err_errno(e, "cannot read symbols from %s", file) : 0;
}

struct symbols *symbols_load(const char *file, struct err *e)
{
	struct symbols *s = calloc(1, sizeof(*s));
	bool ok;

	if (!s || read_file(s, file, e)) {
		symbols_free(s);
		return NULL;
	}
	ok = s->size > sizeof(Elf64_Ehdr) && !memcmp(s->text, ELFMAG, SELFMAG) && s->text[EI_CLASS] == ELFCLASS64
		 ? parse_elf(s)
		 : parse_map(s);
	if (!ok || !s->n) {
		err_set(e,
			"%s holds no symbols: give a System.map, a copy of /proc/kallsyms, or an ELF file with a "
			"symbol table",
			file);
		symbols_free(s);
		return NULL;
	}
	qsort(s->v, s->n, sizeof(*s->v), by_address);
	return s;
}

void symbols_free(struct symbols *s)
{
	if (!s)
		return;
	free(s->v);
	free(s->text);
	free(s);
}

size_t symbols_count(const struct symbols *s)
{
	return s->n;
}

const char *symbols_find(const struct symbols *s, u64 addr, u64 *offset)
{
	size_t lo = 0, hi = s ? s->n : 0;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->v[mid].addr <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo || addr - s->v[lo - 1].addr > NEAR_LIMIT)
		return NULL;
	*offset = addr - s->v[lo - 1].addr;
	return s->v[lo - 1].name;
}

bool symbols_lookup(const struct symbols *s, const char *name, u64 *addr)
{
	for (size_t i = 0; i < s->n; i++) {
		if (strcmp(s->v[i].name, name))
			continue;
		*addr = s->v[i].addr;
		return true;
	}
	return false;
}
