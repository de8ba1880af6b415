/*
 * A driver of the time before iommufd: finds its device's group, opens it through a container, and lets
 * softiommu's test device copy (crates/devices/src/dmatest/spec.rs).
 *
 * Arguments: the container's node, the type, the device. Prints nothing when all is well.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/kvm.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096
#define IOVA 0x100000

#define need(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			printf("line %d: %s: %s\n", __LINE__, #condition, strerrorname_np(errno)); \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

#define refused(call, number) need((call) == -1 && errno == (number))

static int device;
static uint64_t bar, config;

static uint64_t region(int index)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = index };

	need(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info) == 0);
	return info.offset;
}

static void put(uint64_t at, const void *from, int size) { need(pwrite(device, from, size, bar + at) == size); }

static void get(uint64_t at, void *to, int size) { need(pread(device, to, size, bar + at) == size); }

/* Reads or writes 8 bytes; the status. */
static uint32_t access_iova(uint32_t action, uint64_t iova, uint64_t pattern, uint64_t *value)
{
	struct {
		uint32_t action, flags;
		uint64_t address;
		uint32_t pasid, size;
		uint64_t pattern;
		uint32_t rest[8];
	} operation = { .action = action, .address = iova, .size = 8, .pattern = pattern };
	uint32_t one = 1, status, outcome[8];

	put(0x1000, &operation, sizeof(operation));
	put(0x0c, &one, 4);
	do
		get(0x08, &status, 4);
	while (status == 1);
	get(0x2000, outcome, sizeof(outcome));
	if (value)
		get(0x8000, value, 8);
	return outcome[0];
}

static long locked(void)
{
	char line[256];
	long pages = -1;
	FILE *file = fopen("/proc/self/status", "r");

	need(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "VmLck: %ld kB", &pages) == 1)
			break;
	fclose(file);
	return pages / 4;
}

/* KVM is told of a group, where there is a KVM that lets us. */
static void tell_kvm(int group)
{
	struct kvm_create_device create = { .type = KVM_DEV_TYPE_VFIO };
	struct kvm_device_attr attr = { .group = 1, .attr = 1, .addr = (uintptr_t)&group };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), machine, kvm_vfio, other;

	if (kvm < 0 || (machine = ioctl(kvm, KVM_CREATE_VM, 0)) < 0 ||
	    ioctl(machine, KVM_CREATE_DEVICE, &create) < 0)
		return;
	kvm_vfio = create.fd;
	need(ioctl(kvm_vfio, KVM_SET_DEVICE_ATTR, &attr) == 0);
	attr.attr = 2;
	need(ioctl(kvm_vfio, KVM_SET_DEVICE_ATTR, &attr) == 0);
	attr.attr = 3;
	refused(ioctl(kvm_vfio, KVM_SET_DEVICE_ATTR, &attr), ENXIO);
	attr.attr = 1;
	attr.addr = 8;
	refused(ioctl(kvm_vfio, KVM_SET_DEVICE_ATTR, &attr), EFAULT);
	/* a file of ours that is none of VFIO, and one that is not ours */
	attr.addr = (uintptr_t)&other;
	other = open("/dev/iommu", O_RDWR);
	need(other >= 0);
	refused(ioctl(kvm_vfio, KVM_SET_DEVICE_ATTR, &attr), EINVAL);
	close(other);
	other = kvm;
	refused(ioctl(kvm_vfio, KVM_SET_DEVICE_ATTR, &attr), EINVAL);
	other = 999;
	refused(ioctl(kvm_vfio, KVM_SET_DEVICE_ATTR, &attr), EBADF);
}

/* The ranges of IOVA that the container tells of hold ours. */
static void check_info(int container)
{
	char buffer[4096];
	struct vfio_iommu_type1_info *info = (void *)buffer;
	struct vfio_iommu_type1_info_cap_iova_range *ranges;
	uint32_t at;

	memset(buffer, 0, sizeof(buffer));
	info->argsz = sizeof(*info);
	need(ioctl(container, VFIO_IOMMU_GET_INFO, info) == 0);
	need(info->argsz > sizeof(*info) && info->argsz <= sizeof(buffer));
	need(ioctl(container, VFIO_IOMMU_GET_INFO, info) == 0);
	need(info->iova_pgsizes & PAGE);
	for (at = info->cap_offset; at; at = ((struct vfio_info_cap_header *)(buffer + at))->next) {
		ranges = (void *)(buffer + at);
		if (ranges->header.id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
			break;
	}
	need(at && ranges->nr_iovas > 0);
	need(ranges->iova_ranges[0].start <= IOVA && ranges->iova_ranges[0].end > IOVA);
}

int main(int argc, char **argv)
{
	int is_iommufd = strcmp(argv[1], "/dev/iommu") == 0, type = atoi(argv[2]), group, container, child, ended;
	struct vfio_group_status status = { .argsz = sizeof(status) };
	struct vfio_device_info info = { .argsz = sizeof(info) };
	struct vfio_iommu_type1_dma_map map = { .argsz = sizeof(map), .iova = IOVA, .size = 2 * PAGE };
	struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof(unmap), .iova = IOVA, .size = 2 * PAGE };
	char path[PATH_MAX], link[PATH_MAX];
	uint64_t *memory, value;
	uint16_t command = 6;
	ssize_t length;
	long before;

	/* as libvfio and QEMU do: the group's number is the end of a link */
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", argv[3]);
	length = readlink(path, link, sizeof(link) - 1);
	need(length > 0);
	link[length] = 0;
	snprintf(path, sizeof(path), "/dev/vfio%s", strrchr(link, '/'));

	container = open(argv[1], O_RDWR | O_CLOEXEC);
	need(container >= 0);
	need(ioctl(container, VFIO_GET_API_VERSION) == VFIO_API_VERSION);
	need(ioctl(container, VFIO_CHECK_EXTENSION, type) == 1);
	refused(ioctl(container, VFIO_SET_IOMMU, type), is_iommufd ? ENODEV : EINVAL);
	group = open(path, O_RDWR);
	need(group >= 0);
	refused(open(path, O_RDWR), EBUSY);
	need(ioctl(group, VFIO_GROUP_GET_STATUS, &status) == 0);
	need(status.flags == VFIO_GROUP_FLAGS_VIABLE);
	refused(ioctl(group, VFIO_GROUP_GET_DEVICE_FD, argv[3]), EINVAL);
	need(ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) == 0);
	refused(ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), EINVAL);
	need(ioctl(group, VFIO_GROUP_GET_STATUS, &status) == 0);
	need(status.flags == (VFIO_GROUP_FLAGS_VIABLE | VFIO_GROUP_FLAGS_CONTAINER_SET));
	need(ioctl(container, VFIO_SET_IOMMU, type) == 0);
	tell_kvm(group);

	refused(ioctl(group, VFIO_GROUP_GET_DEVICE_FD, "0000:00:00.0"), ENODEV);
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, argv[3]);
	need(device >= 0 && fcntl(device, F_GETFD) == FD_CLOEXEC);
	need(ioctl(device, VFIO_DEVICE_GET_INFO, &info) == 0 && info.flags & VFIO_DEVICE_FLAGS_PCI);
	check_info(container);
	bar = region(0);
	config = region(VFIO_PCI_CONFIG_REGION_INDEX);
	need(pwrite(device, &command, 2, config + 4) == 2);

	memory = mmap(0, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(memory != MAP_FAILED);
	memory[0] = 0x1122334455667788;
	map.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
	map.vaddr = (uintptr_t)memory;
	before = locked();
	need(ioctl(container, VFIO_IOMMU_MAP_DMA, &map) == 0);
	need(is_iommufd || locked() == before + 2);
	refused(ioctl(container, VFIO_IOMMU_MAP_DMA, &map), EEXIST);
	need(access_iova(1, IOVA, 0, &value) == 1 && value == memory[0]);
	need(access_iova(2, IOVA + PAGE, 42, 0) == 1 && memory[PAGE / 8] == 42);
	need(access_iova(1, IOVA + 2 * PAGE, 0, 0) != 1);

	/* descriptors live in other processes, too, and the group with the device */
	child = fork();
	need(child >= 0);
	if (!child) {
		close(container);
		close(group);
		need(access_iova(1, IOVA, 0, &value) == 1 && value == memory[0]);
		_exit(0);
	}
	need(waitpid(child, &ended, 0) == child && ended == 0);
	if (!is_iommufd)
		refused(ioctl(group, VFIO_GROUP_UNSET_CONTAINER), EBUSY);
	close(group);
	need(access_iova(1, IOVA, 0, &value) == 1 && value == memory[0]);

	need(ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap) == 0 && unmap.size == 2 * PAGE);
	need(locked() == before);
	need(access_iova(1, IOVA, 0, 0) != 1);
	close(device);
	group = open(path, O_RDWR);
	need(group >= 0);
	return 0;
}
