/*
 * The first process of a guest whose IOMMU is QEMU's VT-d: as a program on VFIO (vfio-pci, type1) lets the
 * NVMe controller identify itself to memory that the guest has mapped for it, takes the mapping away, and
 * lets it try once more, which must fail.
 *
 * The initial file system holds the modules of VFIO as /0.ko, /1.ko and so on, vfio-pci the last.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DEVICES "/sys/bus/pci/devices"
#define IDS "1b36:0010"
#define QUEUES 0x10000
#define DATA 0x40000000
#define DATA_SIZE (4 << 20)
/* Where in the data the controller writes: over the border of two pages. */
#define AT 0x1ff800
#define PAGE 4096

static void off(void)
{
	fflush(stdout);
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static void fail(const char *what)
{
	printf("NESTED-BAD: %s: %s\n", what, strerror(errno));
	off();
}

static int must(int result, const char *what)
{
	if (result < 0)
		fail(what);
	return result;
}

static void modules(void)
{
	char path[32];

	for (int number = 0;; number++) {
		snprintf(path, sizeof(path), "/%d.ko", number);
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			return;
		snprintf(path, sizeof(path), "/%d.ko", number + 1);
		must(syscall(SYS_finit_module, fd, access(path, F_OK) ? "ids=" IDS : "", 0), path);
		close(fd);
	}
}

/* The address of the device that vfio-pci has. */
static const char *address(void)
{
	static char found[64];
	DIR *folder = opendir("/sys/bus/pci/drivers/vfio-pci");
	struct dirent *entry;

	while (folder && (entry = readdir(folder)))
		if (strchr(entry->d_name, ':'))
			snprintf(found, sizeof(found), "%.60s", entry->d_name);
	if (!*found)
		fail("no device of vfio-pci");
	return found;
}

static void *map(int container, uint64_t iova, size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map), .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)memory, .iova = iova, .size = size,
	};

	must(ioctl(container, VFIO_IOMMU_MAP_DMA, &map), "map");
	return memory;
}

static volatile uint32_t *bar;
static uint8_t *queues;

static void ready(uint32_t want)
{
	for (int tries = 0; (bar[7] & 1) != want; tries++) {
		if (tries > 1000)
			fail("ready");
		usleep(10000);
	}
}

/* Identify Controller to DATA + AT; its status. */
static int identify(int number, int interrupt)
{
	uint32_t command[16] = { 6 | number << 16 };
	uint64_t first = DATA + AT, second = (DATA + AT + PAGE) & -PAGE;
	volatile uint32_t *completion = (uint32_t *)(queues + PAGE + number * 16);
	struct pollfd poll_it = { interrupt, POLLIN, 0 };
	uint64_t count;

	memcpy(command + 6, &first, 8);
	memcpy(command + 8, &second, 8);
	command[10] = 1;
	memcpy(queues + number * 64, command, 64);
	__sync_synchronize();
	bar[0x1000 / 4] = number + 1;
	if (poll(&poll_it, 1, 10000) != 1 || read(interrupt, &count, 8) != 8)
		fail("no interrupt");
	if (!(completion[3] >> 16 & 1))
		fail("no completion");
	bar[0x1004 / 4] = number + 1;
	return completion[3] >> 17;
}

int main(void)
{
	char path[128], to[128];
	struct { struct vfio_irq_set set; int fd; } irq = { .set = {
		.argsz = sizeof(irq), .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = VFIO_PCI_MSIX_IRQ_INDEX, .count = 1,
	} };
	struct vfio_region_info config = { .argsz = sizeof(config), .index = VFIO_PCI_CONFIG_REGION_INDEX };
	struct vfio_region_info bar0 = { .argsz = sizeof(bar0), .index = 0 };
	struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof(unmap), .iova = DATA, .size = DATA_SIZE };
	uint16_t command;

	mkdir("/dev", 0755);
	mkdir("/sys", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	modules();
	const char *name = address();
	snprintf(path, sizeof(path), DEVICES "/%s/iommu_group", name);
	ssize_t length = must(readlink(path, to, sizeof(to) - 1), "no IOMMU");
	to[length] = 0;
	snprintf(path, sizeof(path), "/dev/vfio%s", strrchr(to, '/'));
	int container = must(open("/dev/vfio/vfio", O_RDWR), "container");
	int group = must(open(path, O_RDWR), path);
	must(ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), "set container");
	must(ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), "type1");
	int device = must(ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name), "device");
	queues = map(container, QUEUES, 2 * PAGE);
	uint8_t *data = map(container, DATA, DATA_SIZE);

	irq.fd = eventfd(0, 0);
	must(ioctl(device, VFIO_DEVICE_SET_IRQS, &irq), "interrupt");
	must(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config), "configuration");
	must(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &bar0), "registers");
	must(pread(device, &command, 2, config.offset + 4), "command");
	command |= 6;
	must(pwrite(device, &command, 2, config.offset + 4), "command");
	bar = mmap(NULL, bar0.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, bar0.offset);
	if (bar == MAP_FAILED)
		fail("map registers");
	bar[5] = 0;
	ready(0);
	bar[9] = 31 << 16 | 31;
	bar[10] = QUEUES;
	bar[11] = 0;
	bar[12] = QUEUES + PAGE;
	bar[13] = 0;
	bar[5] = 4 << 20 | 6 << 16 | 1;
	ready(1);
	int status = identify(0, irq.fd);

	if (status || memcmp(data + AT, "\x36\x1b", 2)) {
		printf("NESTED-BAD: status %#x, vendor %02x%02x\n", status, data[AT + 1], data[AT]);
		off();
	}
	printf("identified: %.40s\n", data + AT + 24);
	memset(data, 0, DATA_SIZE);
	must(ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap), "unmap");
	status = identify(1, irq.fd);
	if (!status || memcmp(data + AT, "\0\0", 2)) {
		printf("NESTED-BAD: after unmap status %#x, vendor %02x%02x\n", status, data[AT + 1], data[AT]);
		off();
	}
	printf("after unmap: status %#x\nNESTED-OK: mapped memory was written, unmapped was not\n", status);
	off();
	return 0;
}
