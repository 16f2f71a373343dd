/* SPDX-License-Identifier: Apache-2.0
 * A debugger of a few packets, for machines without gdb: rsp PORT ELF [many]. Stops at guest_main and at the first case
 * by breakpoint, reads and writes registers, steps, writes memory, interrupts it, and lets it go on. 0 if all answers
 * were right. With "many" it sets more breakpoints than hardware has registers for: QEMU's AMD-V does not load those
 * when it enters a guest.
 */
#include <arpa/inet.h>
#include <elf.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RIP_AT (16 * 16) /* in hex digits: the 17th register */

static void fail(const char *what, const char *got)
{
	fprintf(stderr, "%s: '%.300s'\n", what, got);
	exit(1);
}

static int dial(unsigned port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons((uint16_t)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	for (int tries = 0; tries < 300; tries++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		if (!connect(fd, (struct sockaddr *)&a, sizeof(a)))
			return fd;
		close(fd);
		usleep(100000);
	}
	fail("nobody listens", "");
	return -1;
}

static char next_byte(int fd)
{
	char c;

	if (read(fd, &c, 1) != 1)
		fail("the stub hung up", "");
	return c;
}

static void receive(int fd, char *buf, size_t room)
{
	size_t n = 0;
	char c;

	while (next_byte(fd) != '$')
		;
	while ((c = next_byte(fd)) != '#' && n < room - 1)
		buf[n++] = c;
	buf[n] = 0;
	next_byte(fd);
	next_byte(fd);
	if (write(fd, "+", 1) != 1)
		fail("cannot acknowledge", buf);
}

static void send_packet(int fd, const char *text)
{
	unsigned char sum = 0;

	for (const char *p = text; *p; p++)
		sum = (unsigned char)(sum + (unsigned char)*p);
	dprintf(fd, "$%s#%02x", text, sum);
}

static void ask(int fd, char *buf, size_t room, const char *form, ...)
{
	char text[200];
	va_list ap;

	va_start(ap, form);
	vsnprintf(text, sizeof(text), form, ap);
	va_end(ap);
	send_packet(fd, text);
	receive(fd, buf, room);
}

static void want(const char *what, const char *got, const char *begin)
{
	if (strncmp(got, begin, strlen(begin)))
		fail(what, got);
}

static uint64_t rip(int fd)
{
	char buf[8192], digits[17] = "";
	uint64_t val = 0;

	ask(fd, buf, sizeof(buf), "g");
	if (strlen(buf) < RIP_AT + 16)
		fail("registers", buf);
	memcpy(digits, buf + RIP_AT, 16);
	for (int k = 7; k >= 0; k--) {
		char two[3] = { digits[2 * k], digits[2 * k + 1], 0 };

		val = val << 8 | strtoul(two, NULL, 16);
	}
	return val;
}

static uint64_t symbol(const unsigned char *elf, const char *name)
{
	const Elf64_Ehdr *h = (const void *)elf;
	const Elf64_Shdr *s = (const void *)(elf + h->e_shoff);

	for (unsigned i = 0; i < h->e_shnum; i++) {
		const Elf64_Sym *sym = (const void *)(elf + s[i].sh_offset);
		const char *names = (const char *)elf + s[s[i].sh_link].sh_offset;

		if (s[i].sh_type != SHT_SYMTAB)
			continue;
		for (uint64_t k = 0; k < s[i].sh_size / sizeof(*sym); k++)
			if (!strcmp(names + sym[k].st_name, name))
				return sym[k].st_value;
	}
	fail("no such symbol", name);
	return 0;
}

static unsigned char *read_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	unsigned char *data = malloc(16 << 20);

	if (!f || !data || !fread(data, 1, 16 << 20, f))
		fail("cannot read", path);
	fclose(f);
	return data;
}

static void breakpoint(int fd, bool on, uint64_t addr)
{
	char buf[8192];

	ask(fd, buf, sizeof(buf), "%c1,%llx,1", on ? 'Z' : 'z', (unsigned long long)addr);
	want("breakpoint", buf, "OK");
}

static void stop_at(int fd, uint64_t addr, unsigned more)
{
	char buf[8192];

	breakpoint(fd, true, addr);
	for (unsigned k = 0; k < more; k++)
		breakpoint(fd, true, 0x7000000 + k);
	ask(fd, buf, sizeof(buf), "c");
	want("stop", buf, "T05");
	if (rip(fd) != addr)
		fail("stopped elsewhere", buf);
	breakpoint(fd, false, addr);
	for (unsigned k = 0; k < more; k++)
		breakpoint(fd, false, 0x7000000 + k);
}

/* RCX, the third register: what the debugger writes is what it reads, also after a step. */
static void write_register(int fd)
{
	char before[8192], buf[8192], rcx[17] = "";

	ask(fd, before, sizeof(before), "g");
	if (strlen(before) < 3 * 16)
		fail("registers", before);
	memcpy(rcx, before + 2 * 16, 16);
	ask(fd, buf, sizeof(buf), "P2=8877665544332211");
	want("register write", buf, "OK");
	ask(fd, buf, sizeof(buf), "g");
	want("register written", buf + 2 * 16, "8877665544332211");
	ask(fd, buf, sizeof(buf), "P2=%s", rcx);
	want("register write", buf, "OK");
	ask(fd, buf, sizeof(buf), "g");
	want("registers as before", buf, before);
}

/* The guest runs a jump to itself until it is interrupted. */
static void interrupt(int fd)
{
	unsigned long long pc = rip(fd);
	char code[8192], buf[8192];

	ask(fd, code, sizeof(code), "m%llx,2", pc);
	if (strlen(code) != 4)
		fail("code", code);
	ask(fd, buf, sizeof(buf), "M%llx,2:ebfe", pc);
	want("code write", buf, "OK");
	send_packet(fd, "c");
	usleep(300000);
	if (write(fd, "\003", 1) != 1)
		fail("cannot interrupt", "");
	receive(fd, buf, sizeof(buf));
	want("interrupted", buf, "T02");
	if (rip(fd) != pc)
		fail("interrupted elsewhere", buf);
	ask(fd, buf, sizeof(buf), "M%llx,2:%s", pc, code);
	want("code write", buf, "OK");
}

int main(int argc, char **argv)
{
	unsigned more = argc == 4 ? 4 : 0;
	unsigned char *elf = argc >= 3 ? read_file(argv[2]) : NULL;
	uint64_t before, spare;
	char buf[8192];
	int fd;

	if (!elf)
		return 2;
	spare = symbol(elf, "kit_gdt") + 20 * 8;
	fd = dial((unsigned)atoi(argv[1]));
	ask(fd, buf, sizeof(buf), "?");
	want("stopped at first", buf, "T");
	stop_at(fd, symbol(elf, "guest_main"), more);
	before = rip(fd);
	for (int k = 0; k < 3; k++) {
		ask(fd, buf, sizeof(buf), "s");
		want("step", buf, "T05");
	}
	if (rip(fd) == before)
		fail("the steps went nowhere", buf);
	ask(fd, buf, sizeof(buf), "M%llx,2:3412", (unsigned long long)spare);
	want("write", buf, "OK");
	ask(fd, buf, sizeof(buf), "m%llx,2", (unsigned long long)spare);
	want("read", buf, "3412");
	write_register(fd);
	stop_at(fd, symbol(elf, "kit_case"), more);
	interrupt(fd);
	send_packet(fd, "D");
	receive(fd, buf, sizeof(buf));
	want("detach", buf, "OK");
	return 0;
}
