/* A disk that fills, or a process that is killed, at any single write of a program: for tests.
 *
 * Preloaded (LD_PRELOAD) it counts what the program does to files below DISK_BELOW: each write, growth, file and folder that is made,
 * and each sync, rename and removal.
 *
 *   DISK_FULL_AT=N  from the Nth write on there is no space: half of that one is still written, everything later that needs space fails.
 *   DISK_SYNC_AT=N  from the Nth sync on all syncs fail (EIO), as with a disk that breaks: what was written may be there or not.
 *   DISK_KILL_AT=N  at the Nth of all of these the program is killed (SIGKILL): half of a write is written, nothing else is done.
 *   DISK_COUNT=FILE the counts so far are written there as "writes all", whenever they change.
 *
 * System calls that are made without the C library (rustix' renameat2) are not seen.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static long writes, syncs, all;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static long number(const char *variable) {
  const char *text = getenv(variable);
  return text ? atol(text) : 0;
}

static int is_path_below(const char *path) {
  const char *below = getenv("DISK_BELOW");
  return below && path && strncmp(path, below, strlen(below)) == 0;
}

static int is_below(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  return is_path_below(path);
}

enum kind { WRITE, SYNC, OTHER };
enum what { NOTHING, FULL_NOW, FULL, BROKEN, KILL };

static enum what counted(enum kind kind) {
  pthread_mutex_lock(&one_at_a_time);
  all += 1;
  writes += kind == WRITE;
  syncs += kind == SYNC;
  enum what what = NOTHING;
  long full = number("DISK_FULL_AT"), kill_at = number("DISK_KILL_AT"), sync_at = number("DISK_SYNC_AT");
  if (kill_at && all >= kill_at) what = KILL;
  else if (full && kind == WRITE && writes == full) what = FULL_NOW;
  else if (full && kind == WRITE && writes > full) what = FULL;
  else if (sync_at && kind == SYNC && syncs >= sync_at) what = BROKEN;
  const char *count = getenv("DISK_COUNT");
  if (count) {
    char text[64];
    int length = snprintf(text, sizeof text, "%ld %ld", writes, all);
    int fd = open(count, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd >= 0) {
      REAL(write)(fd, text, (size_t)length);
      close(fd);
    }
  }
  /* Whoever is killed lets nobody else write before. */
  if (what != KILL) pthread_mutex_unlock(&one_at_a_time);
  return what;
}

_Noreturn static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

static int fails(int error) {
  errno = error;
  return -1;
}
static ssize_t no_space(void) { return fails(ENOSPC); }

/* Whether something that needs space, or does not, is to be done. */
static int may(enum kind kind) {
  switch (counted(kind)) {
    case KILL: die();
    case FULL_NOW: case FULL: return fails(ENOSPC) == 0;
    case BROKEN: return fails(EIO) == 0;
    default: return 1;
  }
}

ssize_t write(int fd, const void *bytes, size_t count) {
  if (!is_below(fd)) return REAL(write)(fd, bytes, count);
  switch (counted(WRITE)) {
    case KILL: if (count > 1) REAL(write)(fd, bytes, count / 2); die();
    case FULL_NOW: return count > 1 ? REAL(write)(fd, bytes, count / 2) : no_space();
    case FULL: return no_space();
    default: return REAL(write)(fd, bytes, count);
  }
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (!is_below(fd)) return REAL(writev)(fd, parts, count);
  switch (counted(WRITE)) {
    case KILL: die();
    case FULL_NOW: case FULL: return no_space();
    default: return REAL(writev)(fd, parts, count);
  }
}

static ssize_t write_at(int fd, const void *bytes, size_t count, off64_t at) {
  __typeof__(&pwrite64) real = REAL(pwrite64);
  if (!is_below(fd)) return real(fd, bytes, count, at);
  switch (counted(WRITE)) {
    case KILL: if (count > 1) real(fd, bytes, count / 2, at); die();
    case FULL_NOW: return count > 1 ? real(fd, bytes, count / 2, at) : no_space();
    case FULL: return no_space();
    default: return real(fd, bytes, count, at);
  }
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) { return write_at(fd, bytes, count, at); }
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return write_at(fd, bytes, count, at); }

static int grow(int fd, off64_t length) {
  if (is_below(fd) && !may(WRITE)) return -1;
  return REAL(ftruncate64)(fd, length);
}
int ftruncate64(int fd, off64_t length) { return grow(fd, length); }
int ftruncate(int fd, off_t length) { return grow(fd, length); }

int fsync(int fd) { return is_below(fd) && !may(SYNC) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return is_below(fd) && !may(SYNC) ? -1 : REAL(fdatasync)(fd); }

/* Only files that are not there yet need space. */
static int makes(const char *path, int flags) {
  return (flags & O_CREAT) && is_path_below(path) && access(path, F_OK) != 0;
}
#define OPEN(name)                                             \
  int name(const char *path, int flags, ...) {                 \
    mode_t mode = 0;                                           \
    if (flags & (O_CREAT | __O_TMPFILE)) {                     \
      va_list more;                                            \
      va_start(more, flags);                                   \
      mode = va_arg(more, mode_t);                             \
      va_end(more);                                            \
    }                                                          \
    if (makes(path, flags) && !may(WRITE)) return -1;          \
    return REAL(name)(path, flags, mode);                      \
  }
OPEN(open)
OPEN(open64)

int mkdir(const char *path, mode_t mode) {
  return is_path_below(path) && !may(WRITE) ? -1 : REAL(mkdir)(path, mode);
}
int rename(const char *from, const char *to) {
  return is_path_below(to) && !may(OTHER) ? -1 : REAL(rename)(from, to);
}
int unlink(const char *path) {
  return is_path_below(path) && !may(OTHER) ? -1 : REAL(unlink)(path);
}
