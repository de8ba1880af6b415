/* Asks libc what `names.rs` wants to know: words on the command line, an answer each. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#define VFIO_DEVICE_BIND_IOMMUFD 0x3b76

static int folder = AT_FDCWD;

static void error(void) { printf(" %s", strerrorname_np(errno)); }

static void say(const char *text)
{
	if (text)
		printf(" %s", text);
	else
		error();
}

static void facts(unsigned mode, unsigned major, unsigned minor)
{
	if (S_ISCHR(mode))
		printf(" %u:%u", major, minor);
	else
		say(S_ISDIR(mode) ? "folder" : S_ISREG(mode) ? "file" : "other");
}

/* No argument is an address: a device of ours says so, a file knows no such call. */
static void open_it(const char *name)
{
	int fd = openat(folder, name, O_RDWR);

	if (fd >= 0)
		ioctl(fd, VFIO_DEVICE_BIND_IOMMUFD, NULL);
	error();
}

static void stat_it(const char *name)
{
	struct stat found;

	if (fstatat(folder, name, &found, 0))
		error();
	else
		facts(found.st_mode, major(found.st_rdev), minor(found.st_rdev));
}

/* What was opened, not what the name says. */
static void fstat_it(const char *name)
{
	struct stat found;
	int fd = openat(folder, name, O_RDWR);

	if (fd < 0 || fstat(fd, &found))
		return error();
	facts(found.st_mode, major(found.st_rdev), minor(found.st_rdev));
	close(fd);
}

static void statx_it(const char *name, int flags)
{
	struct statx found;

	if (statx(folder, name, flags, STATX_BASIC_STATS, &found))
		error();
	else
		facts(found.stx_mode, found.stx_rdev_major, found.stx_rdev_minor);
}

static void read_link(const char *name, size_t size)
{
	char to[PATH_MAX + 1];
	ssize_t length = readlinkat(folder, name, to, size);

	if (length >= 0)
		to[length] = 0;
	say(length < 0 ? NULL : to);
}

static void read_it(const char *name)
{
	char line[256] = "";
	FILE *file = fopen(name, "r");

	if (file && fgets(line, sizeof(line), file))
		line[strcspn(line, "\n")] = 0;
	say(file ? line : NULL);
}

static int by_name(const void *one, const void *other)
{
	return strcmp(*(char **)one, *(char **)other);
}

static void say_all(char **names, size_t count)
{
	printf(" [");
	for (size_t i = 0; i < count; i++)
		printf("%s%s", i ? " " : "", names[i]);
	printf("]");
}

/* Marks what the folder says is a device. */
static void list(DIR *dir)
{
	char *names[256];
	size_t count = 0;
	struct dirent *entry;

	if (!dir)
		return error();
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.' &&
		    asprintf(names + count, "%s%s", entry->d_name, entry->d_type == DT_CHR ? "*" : "") > 0)
			count++;
	qsort(names, count, sizeof(*names), by_name);
	say_all(names, count);
}

static int is_shown(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static void scan(const char *name)
{
	struct dirent **entries;
	char *names[256];
	int count = scandir(name, &entries, is_shown, alphasort);

	for (int i = 0; i < count; i++)
		names[i] = entries[i]->d_name;
	if (count < 0)
		error();
	else
		say_all(names, count);
}

static void glob_it(const char *pattern)
{
	static glob_t found;

	if (glob(pattern, 0, NULL, &found))
		say("none");
	else
		say_all(found.gl_pathv, found.gl_pathc);
	globfree(&found);
}

int main(int count, char **words)
{
	char path[PATH_MAX];

	for (int i = 1; i < count; i++) {
		const char *word = words[i], *name = words[i + 1];
		struct utsname system;

#define IS_BARE(what) (!strcmp(word, what))
#define IS(what) (IS_BARE(what) && (i++, 1))

		if (IS("cd"))
			chdir(name) ? error() : (void)0;
		else if (IS("in"))
			folder = open(name, O_RDONLY | O_DIRECTORY);
		else if (IS("open"))
			open_it(name);
		else if (IS("stat"))
			stat_it(name);
		else if (IS("fstat"))
			fstat_it(name);
		else if (IS("open-statx"))
			folder = openat(folder, name, O_RDWR), statx_it("", AT_EMPTY_PATH);
		else if (IS("statx"))
			statx_it(name, 0);
		else if (IS("access"))
			faccessat(folder, name, R_OK | W_OK, 0) ? error() : say("yes");
		else if (IS("link"))
			read_link(name, PATH_MAX);
		else if (IS("link-of-4"))
			read_link(name, 4);
		else if (IS("real"))
			say(realpath(name, path));
		else if (IS("read"))
			read_it(name);
		else if (IS("list"))
			list(opendir(name));
		else if (IS("scan"))
			scan(name);
		else if (IS("glob"))
			glob_it(name);
		else if (IS("pwd"))
			say(getcwd(path, atoi(name)));
		else if (IS_BARE("list-it"))
			list(fdopendir(folder));
		else if (IS_BARE("statx-it"))
			statx_it("", AT_EMPTY_PATH);
		else if (IS_BARE("fchdir"))
			fchdir(folder);
		else if (IS_BARE("new-pwd"))
			say(getcwd(NULL, 0));
		else if (IS_BARE("name-pwd"))
			say(get_current_dir_name());
		else if (IS_BARE("old-pwd"))
			say(getwd(path));
		else if (IS_BARE("fd-link"))
			snprintf(path, sizeof(path), "/proc/self/fd/%d", folder), read_link(path, PATH_MAX);
		else if (IS_BARE("release"))
			say(uname(&system) ? NULL : system.release);
		else if (IS_BARE("rest-of-uname"))
			uname(&system), printf(" %s %s %s %s %s", system.sysname, system.nodename,
					       system.version, system.machine, system.domainname);
		else
			return 2;
	}
	putchar('\n');
	return 0;
}
