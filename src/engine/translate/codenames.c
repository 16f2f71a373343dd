/* SPDX-License-Identifier: Apache-2.0
 * An object file in memory, with nothing but a symbol table, which grows in place: the sizes in its section headers do.
 * So a debugger that attaches finds all names there are. One that is attached already reads them when it is told, which
 * is done whenever their number has doubled. The interface is gdb's ("JIT Compilation Interface" in its manual):
 * it looks for these two names, stops at the function, and reads the list.
 */
#include "engine/translate/codenames.h"

#include <elf.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MAX_SYMBOLS (1u << 18)
#define NAME_SIZE 32

enum { SECTION_NONE, SECTION_TEXT, SECTION_SYMBOLS, SECTION_NAMES, SECTION_TITLES, SECTIONS };
enum { JIT_NOTHING, JIT_REGISTER, JIT_UNREGISTER };

struct jit_code_entry {
	struct jit_code_entry *next, *prev;
	const char *file;
	u64 size;
};

struct jit_descriptor {
	u32 version, action;
	struct jit_code_entry *relevant, *first;
};

/* gdb's names. */
extern struct jit_descriptor __jit_debug_descriptor;
void __jit_debug_register_code(void);

/* The one list of a process, which the interface wants to be a variable of this name. */
struct jit_descriptor __jit_debug_descriptor = { .version = 1 };
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;

/* gdb's breakpoint is here. */
__attribute__((noinline, used)) void __jit_debug_register_code(void)
{
	__asm__ volatile("" ::: "memory");
}

static const char titles[] = "\0.text\0.symtab\0.strtab\0.shstrtab";

struct file {
	Elf64_Ehdr head;
	Elf64_Shdr section[SECTIONS];
	char titles[sizeof(titles)];
	_Alignas(8) Elf64_Sym symbol[MAX_SYMBOLS]; /* the first is the one that ELF wants to be empty */
	char name[MAX_SYMBOLS][NAME_SIZE];	   /* likewise */
};

struct codenames {
	struct file *f;
	struct jit_code_entry entry;
	u32 n, kept, told;
};

static void tell(struct codenames *s, u32 action)
{
	__jit_debug_descriptor.action = action;
	__jit_debug_descriptor.relevant = &s->entry;
	__jit_debug_register_code();
	__jit_debug_descriptor.action = JIT_NOTHING;
}

static void enlist(struct codenames *s)
{
	struct jit_descriptor *d = &__jit_debug_descriptor;

	s->entry.prev = NULL;
	s->entry.next = d->first;
	if (d->first)
		d->first->prev = &s->entry;
	d->first = &s->entry;
	tell(s, JIT_REGISTER);
}

static void unlist(struct codenames *s)
{
	if (s->entry.next)
		s->entry.next->prev = s->entry.prev;
	if (s->entry.prev)
		s->entry.prev->next = s->entry.next;
	else
		__jit_debug_descriptor.first = s->entry.next;
	tell(s, JIT_UNREGISTER);
}

static void tell_again(struct codenames *s)
{
	pthread_mutex_lock(&list_lock);
	unlist(s);
	enlist(s);
	pthread_mutex_unlock(&list_lock);
	s->told = s->n;
}

/* n symbols are complete. Names first: a debugger may stop this between any two instructions. */
static void set_count(struct codenames *s, u32 n)
{
	__atomic_store_n(&s->f->section[SECTION_NAMES].sh_size, (u64)n * NAME_SIZE, __ATOMIC_RELEASE);
	__atomic_store_n(&s->f->section[SECTION_SYMBOLS].sh_size, (u64)n * sizeof(Elf64_Sym), __ATOMIC_RELEASE);
	s->n = n;
}

static void fill(struct file *f, const void *code, size_t size)
{
	static const struct {
		u32 title, type;
	} kind[SECTIONS] = {
		[SECTION_TEXT] = { 1, SHT_NOBITS },
		[SECTION_SYMBOLS] = { 7, SHT_SYMTAB },
		[SECTION_NAMES] = { 15, SHT_STRTAB },
		[SECTION_TITLES] = { 23, SHT_STRTAB },
	};

	f->head = (Elf64_Ehdr){ .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
				.e_type = ET_EXEC,
				.e_machine = EM_X86_64,
				.e_version = EV_CURRENT,
				.e_shoff = offsetof(struct file, section),
				.e_ehsize = sizeof(Elf64_Ehdr),
				.e_shentsize = sizeof(Elf64_Shdr),
				.e_shnum = SECTIONS,
				.e_shstrndx = SECTION_TITLES };
	for (unsigned k = SECTION_TEXT; k < SECTIONS; k++)
		f->section[k] = (Elf64_Shdr){ .sh_name = kind[k].title, .sh_type = kind[k].type, .sh_addralign = 1 };
	f->section[SECTION_TEXT].sh_flags = SHF_ALLOC | SHF_EXECINSTR;
	f->section[SECTION_TEXT].sh_addr = (u64)(uintptr_t)code;
	f->section[SECTION_TEXT].sh_size = size;
	f->section[SECTION_SYMBOLS].sh_offset = offsetof(struct file, symbol);
	f->section[SECTION_SYMBOLS].sh_entsize = sizeof(Elf64_Sym);
	f->section[SECTION_SYMBOLS].sh_link = SECTION_NAMES;
	f->section[SECTION_SYMBOLS].sh_info = 1; /* the first that is not local */
	f->section[SECTION_NAMES].sh_offset = offsetof(struct file, name);
	f->section[SECTION_TITLES].sh_offset = offsetof(struct file, titles);
	f->section[SECTION_TITLES].sh_size = sizeof(titles);
	memcpy(f->titles, titles, sizeof(titles));
}

struct codenames *codenames_new(const void *code, size_t size)
{
	struct codenames *s = calloc(1, sizeof(*s));
	struct file *f = mmap(NULL, sizeof(*f), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			      0);

	if (!s || f == MAP_FAILED) {
		if (f != MAP_FAILED)
			munmap(f, sizeof(*f));
		free(s);
		return NULL;
	}
	s->f = f;
	s->entry.file = (const char *)f;
	s->entry.size = sizeof(*f);
	fill(f, code, size);
	set_count(s, 1);
	s->kept = s->told = 1;
	pthread_mutex_lock(&list_lock);
	enlist(s);
	pthread_mutex_unlock(&list_lock);
	return s;
}

void codenames_free(struct codenames *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&list_lock);
	unlist(s);
	pthread_mutex_unlock(&list_lock);
	munmap(s->f, sizeof(*s->f));
	free(s);
}

void codenames_add(struct codenames *s, const char *name, const void *start, size_t size)
{
	if (s->n == MAX_SYMBOLS)
		return;
	strncpy(s->f->name[s->n], name, NAME_SIZE - 1);
	s->f->symbol[s->n] = (Elf64_Sym){ .st_name = s->n * NAME_SIZE,
					  .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
					  .st_shndx = SECTION_TEXT,
					  .st_value = (u64)(uintptr_t)start,
					  .st_size = size };
	set_count(s, s->n + 1);
	if (s->n >= 2 * s->told)
		tell_again(s);
}

void codenames_keep(struct codenames *s)
{
	s->kept = s->n;
}

void codenames_drop(struct codenames *s)
{
	if (s->n == s->kept)
		return;
	set_count(s, s->kept);
	tell_again(s);
}
