/*
 * Starts a program, usually QEMU, that gets a device as an open descriptor.
 *
 *   start inherit NODE PROGRAM...   opens the node as descriptor 9, then is the program
 *   start plug NODE PROGRAM...      runs it with a QMP monitor on descriptor 8, and when Linux in it has
 *                                   started its first process plugs the device in, behind "root0"
 *
 * Plugged, the descriptor goes over the monitor's socket (`getfd`, SCM_RIGHTS), as libvirt does it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEVICE 9
#define MONITOR 8
#define STARTED "Run /init as init process"
#define PLUG                                                                                               \
	"{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"vfio-pci\",\"id\":\"disk\",\"fd\":\"disk\"," \
	"\"iommufd\":\"iommufd0\",\"bus\":\"root0\"}}"

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* Of text that comes in pieces, the end. */
struct text {
	char bytes[65536];
	size_t length;
};

/* Adds what can be read; none at the end. */
static int more(int fd, struct text *text)
{
	if (text->length > sizeof(text->bytes) / 2) {
		memmove(text->bytes, text->bytes + text->length - 4096, 4096);
		text->length = 4096;
	}
	ssize_t got = read(fd, text->bytes + text->length, sizeof(text->bytes) - text->length - 1);

	if (got <= 0)
		return 0;
	text->length += got;
	text->bytes[text->length] = 0;
	return got;
}

/* A command with a descriptor or -1; waits until it is carried out. */
static void command(int monitor, const char *what, int fd)
{
	struct text answer = { .length = 0 };
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec bytes = { (void *)what, strlen(what) };
	struct msghdr message = { .msg_iov = &bytes, .msg_iovlen = 1 };

	if (fd >= 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	}
	if (sendmsg(monitor, &message, 0) != (ssize_t)bytes.iov_len)
		fail("monitor");
	do {
		if (!more(monitor, &answer))
			fail("monitor's end");
		if (strstr(answer.bytes, "\"error\"")) {
			fprintf(stderr, "%s: %s", what, answer.bytes);
			exit(1);
		}
	} while (!strstr(answer.bytes, "\"return\""));
}

static void plug(const char *node, int monitor, int output)
{
	static struct text shown;
	struct text greeting = { .length = 0 };
	int plugged = 0, got;

	if (!more(monitor, &greeting))
		fail("monitor's greeting");
	command(monitor, "{\"execute\":\"qmp_capabilities\"}", -1);
	while ((got = more(output, &shown))) {
		if (write(1, shown.bytes + shown.length - got, got) != got)
			fail("output");
		if (plugged || !strstr(shown.bytes, STARTED))
			continue;
		int device = open(node, O_RDWR | O_CLOEXEC);

		if (device < 0)
			fail(node);
		command(monitor, "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"disk\"}}", device);
		close(device);
		command(monitor, PLUG, -1);
		fprintf(stderr, "plugged\n");
		plugged = 1;
	}
}

int main(int count, char **words)
{
	int monitor[2], output[2], status;

	if (count < 4)
		return 2;
	if (!strcmp(words[1], "inherit")) {
		int device = open(words[2], O_RDWR);

		if (device < 0 || dup2(device, DEVICE) < 0)
			fail(words[2]);
		if (device != DEVICE)
			close(device);
		execvp(words[3], words + 3);
		fail(words[3]);
	}
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, monitor) || pipe(output))
		fail("socket");
	pid_t child = fork();

	if (!child) {
		if (dup2(monitor[1], MONITOR) < 0 || dup2(output[1], 1) < 0)
			fail("descriptors");
		close(monitor[0]);
		close(output[0]);
		execvp(words[3], words + 3);
		fail(words[3]);
	}
	close(monitor[1]);
	close(output[1]);
	plug(words[2], monitor[0], output[0]);
	if (child < 0 || waitpid(child, &status, 0) != child)
		fail("wait");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
