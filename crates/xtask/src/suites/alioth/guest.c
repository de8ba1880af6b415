/*
 * All that runs in alioth's virtual machine: asks the one device for its registers, lets an interrupt of
 * it through, tells, and switches off.
 *
 * It is entered as a PVH kernel, in protected mode without paging, so KVM needs no pages of 1 GiB, with
 * which alioth enters Linux.
 */
#include <stdint.h>

/* The note that says where it is entered (XEN_ELFNOTE_PHYS32_ENTRY), and the start of it. */
__asm__(".section .note.pvh, \"a\", @note\n"
	".long 4, 4, 18\n"
	".asciz \"Xen\"\n"
	".long start\n"
	".text\n"
	".globl start\n"
	"start:\n"
	"lgdt segments_pointer\n" /* alioth's segments end at 256 MiB */
	"mov $8, %eax\n"
	"mov %eax, %ds\n"
	"mov %eax, %ss\n"
	"mov $0x200000, %esp\n"
	"call guest\n"
	".balign 8\n"
	"segments: .quad 0, 0x00cf93000000ffff\n"
	"segments_pointer: .word 15\n"
	".long segments\n");

/* Where alioth has things. */
#define CONFIG 0xe0008000u /* of 00:01.0 */
#define SERIAL 0x3f8
#define SLEEP 0x600
#define SLEEP_OFF 0x34 /* SLP_EN, and 5 as its _S5 says */

/* PCI. */
#define COMMAND 0x04
#define COMMAND_MEMORY 2
#define BAR 0x10
#define BAR_WIDE 4
#define CAPABILITIES 0x34
#define MSIX 0x11

#define REGISTERS 0xb0000000u /* where BAR 0 is put: alioth puts a wide one above 4 GiB */
#define INTERRUPTS 0xfee00000u /* of the local APIC */

static uint32_t load(uint32_t at)
{
	return *(volatile uint32_t *)at;
}

static void store(uint32_t at, uint32_t value)
{
	*(volatile uint32_t *)at = value;
}

static void out(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "d"(port));
}

static void say(const char *text)
{
	while (*text)
		out(SERIAL, *text++);
}

static void say_word(const char *before, uint32_t word)
{
	say(before);
	for (int shift = 28; shift >= 0; shift -= 4)
		out(SERIAL, "0123456789abcdef"[word >> shift & 15]);
}

/* A capability's place. The configuration space behind the header is the device's own. */
static uint32_t capability(uint8_t id)
{
	uint8_t next = load(CONFIG + CAPABILITIES);

	while (next && (uint8_t)load(CONFIG + next) != id)
		next = load(CONFIG + next) >> 8;
	return next ? CONFIG + next : 0;
}

void guest(void)
{
	uint32_t msix = capability(MSIX), registers[4], vector = 0;

	store(CONFIG + BAR, REGISTERS);
	if (load(CONFIG + BAR) & BAR_WIDE)
		store(CONFIG + BAR + 4, 0);
	*(volatile uint16_t *)(CONFIG + COMMAND) = COMMAND_MEMORY;
	for (int i = 0; i < 4; i++)
		registers[i] = load(REGISTERS + 4 * i);
	if (msix) {
		uint32_t table = load(msix + 4);

		vector = (load(CONFIG + BAR + 4 * (table & 7)) & ~15u) + (table & ~7u);
		store(vector, INTERRUPTS);
		store(vector + 8, 0x40);
		store(vector + 12, 0);
	}
	/* alioth's own lines come before and after these, and none between */
	say_word("guest: device ", load(CONFIG));
	for (int i = 0; i < 4; i++)
		say_word(i ? " " : "\nguest: registers ", registers[i]);
	if (vector)
		say_word("\nguest: vector control ", load(vector + 12));
	say("\nguest: off\n");
	out(SLEEP, SLEEP_OFF);
	for (;;)
		__asm__("hlt");
}
