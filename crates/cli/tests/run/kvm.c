/*
 * A virtual machine whose guest reaches a BAR of softiommu's test device: it is mapped, and given to KVM as a slot
 * of guest memory, as VMMs do. The guest loads a register, stores one and loads it again.
 *
 * Argument: the device's node. Prints "skipped: ..." without KVM, and nothing when all is well.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096
#define BAR 0x10000 /* where the guest has it */
#define ID 0x74616d64u /* "dmat" */
#define SCRIPT 0x1000 /* registers that keep what is stored */
#define PORT 0x10

#define need(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			printf("line %d: %s: %s\n", __LINE__, #condition, strerrorname_np(errno)); \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

struct vfio_device_bind_iommufd_ {
	uint32_t argsz, flags;
	int32_t iommufd;
	uint32_t devid;
};

static void skip(const char *why)
{
	printf("skipped: %s\n", why);
	exit(0);
}

int main(int count, char **words)
{
	/* real mode, with DS at the BAR: eax = [0]; out; [SCRIPT] = 0x12345678; eax = [SCRIPT]; out; hlt */
	static const uint8_t code[] = {
		0xb8, BAR >> 4 & 0xff, BAR >> 12, 0x8e, 0xd8,		     /* mov ax, BAR >> 4; mov ds, ax */
		0x66, 0xa1, 0, 0, 0x66, 0xe7, PORT,			     /* mov eax, [0]; out PORT, eax */
		0x66, 0xb8, 0x78, 0x56, 0x34, 0x12, 0x66, 0xa3, 0, 0x10,     /* mov eax, ..; mov [SCRIPT], eax */
		0x66, 0xa1, 0, 0x10, 0x66, 0xe7, PORT, 0xf4,		     /* mov eax, [SCRIPT]; out PORT, eax; hlt */
	};
	uint32_t told[2] = {0}, seen = 0, stored = 0;
	int device, iommu, kvm, vm, cpu;

	need(count == 2);
	if ((kvm = open("/dev/kvm", O_RDWR)) < 0)
		skip(strerrorname_np(errno));
	need((device = open(words[1], O_RDWR)) >= 0);
	need((iommu = open("/dev/iommu", O_RDWR)) >= 0);
	struct vfio_device_bind_iommufd_ bind = { .argsz = sizeof(bind), .iommufd = iommu };
	need(ioctl(device, _IO(';', 118), &bind) == 0);
	struct vfio_region_info info = { .argsz = sizeof(info), .index = VFIO_PCI_BAR0_REGION_INDEX };
	need(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info) == 0);
	char *bar = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, info.offset);
	need(bar != MAP_FAILED);

	if ((vm = ioctl(kvm, KVM_CREATE_VM, 0)) < 0)
		skip("no virtual machine");
	void *ram = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	need(ram != MAP_FAILED);
	memcpy(ram, code, sizeof(code));
	struct kvm_userspace_memory_region slots[] = {
		{ .slot = 0, .guest_phys_addr = PAGE, .memory_size = PAGE, .userspace_addr = (uintptr_t)ram },
		{ .slot = 1, .guest_phys_addr = BAR, .memory_size = info.size, .userspace_addr = (uintptr_t)bar },
	};
	for (int i = 0; i < 2; i++)
		need(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slots[i]) == 0);
	need(slots[1].flags == 0); /* the argument is the program's */
	/* softiommu made the slot read-only, and KVM lets no slot change that (kvm_set_memory_region) */
	need(syscall(SYS_ioctl, vm, KVM_SET_USER_MEMORY_REGION, &slots[1]) == -1 && errno == EINVAL);
	if ((cpu = ioctl(vm, KVM_CREATE_VCPU, 0)) < 0)
		skip("no processor");
	int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	struct kvm_run *run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
	need(run != MAP_FAILED);
	struct kvm_sregs special;
	need(ioctl(cpu, KVM_GET_SREGS, &special) == 0);
	special.cs.base = special.cs.selector = 0;
	need(ioctl(cpu, KVM_SET_SREGS, &special) == 0);
	struct kvm_regs registers = { .rip = PAGE, .rflags = 2 };
	need(ioctl(cpu, KVM_SET_REGS, &registers) == 0);

	for (unsigned exits = 0; exits < 16; exits++) {
		if (ioctl(cpu, KVM_RUN, 0) != 0)
			skip("the processor does not run");
		switch (run->exit_reason) {
		case KVM_EXIT_IO:
			need(run->io.port == PORT && run->io.size == 4 && seen < 2);
			memcpy(&told[seen++], (char *)run + run->io.data_offset, 4);
			break;
		case KVM_EXIT_MMIO: /* as for any device: the store is made where the BAR is mapped */
			need(run->mmio.is_write && run->mmio.len == 4);
			memcpy(&stored, run->mmio.data, 4);
			*(volatile uint32_t *)(bar + (run->mmio.phys_addr - BAR)) = stored;
			break;
		case KVM_EXIT_HLT:
			need(seen == 2 && told[0] == ID);
			need(stored == 0x12345678 && told[1] == stored);
			return 0;
		default:
			printf("exit %u\n", run->exit_reason);
			return 1;
		}
	}
	printf("no end\n");
	return 1;
}
