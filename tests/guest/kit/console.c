/* SPDX-License-Identifier: Apache-2.0
 * What both kits share: the console, the count of cases, the exit. Built for 64-bit and for 32-bit guests.
 */
#include "kit/console.h"

#include <stdarg.h>

static unsigned passed, failed;

void *memset(void *d, int c, size_t n)
{
	void *r = d;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	return r;
}

void *memcpy(void *d, const void *s, size_t n)
{
	void *r = d;

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n)::"memory");
	return r;
}

static void put_char(char c)
{
	while (!(inb(0x3fd) & 0x20))
		;
	outb(0x3f8, (u8)c);
}

void kit_puts(const char *s)
{
	for (; *s; s++)
		put_char(*s);
}

/* Decimal numbers are at most a long: a 32-bit guest has no library for more. */
static void put_number(u64 v, bool hex, int width, char pad)
{
	unsigned long d = (unsigned long)v;
	char buf[24];
	int n = 0;

	do {
		buf[n++] = "0123456789abcdef"[hex ? (v & 15) : d % 10];
		v >>= 4;
		d /= 10;
	} while (hex ? v != 0 : d != 0);
	for (int i = n; i < width; i++)
		put_char(pad);
	while (n)
		put_char(buf[--n]);
}

/* %s %c %d %u %x with l, ll and a zero-padded width: all that the tests need. */
void kit_printf(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	for (; *fmt; fmt++) {
		int width = 0, l = 0;
		char pad = ' ';

		if (*fmt != '%') {
			put_char(*fmt);
			continue;
		}
		for (fmt++; *fmt == '0' || *fmt == 'l' || (*fmt >= '1' && *fmt <= '9'); fmt++) {
			if (*fmt == 'l')
				l++;
			else if (*fmt == '0' && !width)
				pad = '0';
			else
				width = width * 10 + *fmt - '0';
		}
		if (*fmt == 's') {
			kit_puts(va_arg(ap, char *));
		} else if (*fmt == 'c') {
			put_char((char)va_arg(ap, int));
		} else if (*fmt == 'd') {
			long v = l ? va_arg(ap, long) : va_arg(ap, int);

			if (v < 0)
				put_char('-');
			put_number((u64)(v < 0 ? -v : v), false, width, pad);
		} else {
			u64 v = l > 1 ? va_arg(ap, u64) : l ? va_arg(ap, unsigned long) : va_arg(ap, unsigned);

			put_number(v, *fmt == 'x', width, pad);
		}
	}
	va_end(ap);
}

void kit_exit(int code)
{
	outl(0xf4, (u32)code);
	for (;;)
		__asm__ volatile("cli; hlt");
}

static struct {
	const char *name;
	unsigned count;
} failures[64];
static struct {
	const char *fmt;
	u32 arg[4];
} with;

void kit_with(const char *fmt, u32 a, u32 b, u32 c, u32 d)
{
	with.fmt = fmt;
	with.arg[0] = a;
	with.arg[1] = b;
	with.arg[2] = c;
	with.arg[3] = d;
}

/* Whether a case of that name failed before; counts it. */
static bool failed_before(const char *name)
{
	unsigned i;

	for (i = 0; i < 64 && failures[i].name; i++)
		if (failures[i].name == name)
			return failures[i].count++ > 0;
	if (i < 64) {
		failures[i].name = name;
		failures[i].count = 1;
	}
	return false;
}

void kit_case(const char *name, const char *manual, u64 want, u64 got)
{
	if (want == got) {
		passed++;
		return;
	}
	failed++;
	if (failed_before(name))
		return;
	kit_printf("FAIL %s [%s]: want %llx, got %llx", name, manual, (unsigned long long)want,
		   (unsigned long long)got);
	if (with.fmt) {
		kit_puts("; ");
		kit_printf(with.fmt, with.arg[0], with.arg[1], with.arg[2], with.arg[3]);
	}
	kit_puts("\n");
}

int kit_done(void)
{
	for (unsigned i = 0; i < 64 && failures[i].name; i++)
		if (failures[i].count > 1)
			kit_printf("%u times: %s\n", failures[i].count, failures[i].name);
	kit_printf("%u passed, %u failed\n", passed, failed);
	return failed ? 1 : 0;
}
