/*
 * The first and only process of a small Linux: waits for an NVMe disk, writes it, reads it back, counts
 * the interrupts that this took, tells, and switches off.
 *
 * Built with `cc -static`, and all that the initial file system holds besides a console.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DISK "/dev/nvme0n1"
#define CHUNK (1 << 20)
#define CHUNKS 64

static void off(void)
{
	fflush(stdout);
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static void fail(const char *what)
{
	printf("NVME-DATA-BAD: %s: %s\n", what, strerror(errno));
	off();
}

/* A word that tells its place on the disk. */
static uint64_t word(uint64_t place)
{
	place = (place ^ (place >> 31)) * 0x9e3779b97f4a7c15;
	return place ^ (place >> 29);
}

/* Interrupts of the queues, of all processors: the columns of numbers after "NR:". */
static unsigned long interrupts(const char *queue)
{
	char line[512];
	unsigned long sum = 0;
	FILE *file = fopen("/proc/interrupts", "r");

	if (!file)
		fail("/proc/interrupts");
	while (fgets(line, sizeof(line), file)) {
		char *at = strchr(line, ':'), *end;

		if (!at || !strstr(line, queue))
			continue;
		for (at++;; at = end) {
			unsigned long number = strtoul(at, &end, 10);

			if (end == at || (*end != ' ' && *end != '\t'))
				break;
			sum += number;
		}
	}
	fclose(file);
	return sum;
}

static void each(int fd, uint64_t *buffer, int write_it)
{
	for (uint64_t chunk = 0; chunk < CHUNKS; chunk++) {
		uint64_t first = chunk * CHUNK / sizeof(*buffer);

		if (write_it)
			for (uint64_t i = 0; i < CHUNK / sizeof(*buffer); i++)
				buffer[i] = word(first + i);
		else
			memset(buffer, 0, CHUNK);
		ssize_t done = write_it ? pwrite(fd, buffer, CHUNK, chunk * CHUNK)
					: pread(fd, buffer, CHUNK, chunk * CHUNK);
		if (done != CHUNK)
			fail(write_it ? "write" : "read");
		for (uint64_t i = 0; !write_it && i < CHUNK / sizeof(*buffer); i++)
			if (buffer[i] != word(first + i)) {
				printf("NVME-DATA-BAD: word %lu differs\n", (unsigned long)(first + i));
				off();
			}
	}
}

int main(void)
{
	uint64_t *buffer;
	int fd = -1;

	mkdir("/dev", 0755);
	mkdir("/proc", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	/* 20 s */
	for (int tries = 0; fd < 0 && tries < 200; tries++) {
		fd = open(DISK, O_RDWR | O_DIRECT | O_CLOEXEC);
		if (fd < 0)
			nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
	}
	if (fd < 0)
		fail("open " DISK);
	if (posix_memalign((void **)&buffer, 4096, CHUNK))
		fail("memory");
	unsigned long before = interrupts("nvme");
	each(fd, buffer, 1);
	if (fsync(fd))
		fail("flush");
	each(fd, buffer, 0);
	printf("interrupts %lu before, %lu during\n", before, interrupts("nvme") - before);
	printf("NVME-DATA-OK: %d MiB written and verified\n", CHUNKS);
	off();
	return 0;
}
