/* A disk that fills, or a process that is killed, at any single write of a program: for tests.
 *
 * Preloaded (LD_PRELOAD) it counts what the program does to files below DISK_BELOW: each write, each growth, each sync.
 *
 *   DISK_FULL_AT=N  from the Nth write on there is no space: half of that one is still written, everything later fails.
 *   DISK_KILL_AT=N  at the Nth of all of these the program is killed (SIGKILL): half of a write is written, a sync is not done.
 *   DISK_COUNT=FILE the counts so far are written there as "writes all", whenever they change.
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
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static long writes, all;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static long number(const char *variable) {
  const char *text = getenv(variable);
  return text ? atol(text) : 0;
}

static int is_below(int fd) {
  const char *below = getenv("DISK_BELOW");
  char link[64], path[4096];
  if (!below) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  return strncmp(path, below, strlen(below)) == 0;
}

enum what { NOTHING, FULL_NOW, FULL, KILL };

static enum what counted(int is_write) {
  pthread_mutex_lock(&one_at_a_time);
  all += 1;
  writes += is_write;
  enum what what = NOTHING;
  long full = number("DISK_FULL_AT"), kill_at = number("DISK_KILL_AT");
  if (kill_at && all >= kill_at) what = KILL;
  else if (full && is_write && writes == full) what = FULL_NOW;
  else if (full && is_write && writes > full) what = FULL;
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

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

static ssize_t no_space(void) {
  errno = ENOSPC;
  return -1;
}

ssize_t write(int fd, const void *bytes, size_t count) {
  if (!is_below(fd)) return REAL(write)(fd, bytes, count);
  switch (counted(1)) {
    case KILL: if (count > 1) REAL(write)(fd, bytes, count / 2); die();
    case FULL_NOW: return count > 1 ? REAL(write)(fd, bytes, count / 2) : no_space();
    case FULL: return no_space();
    default: return REAL(write)(fd, bytes, count);
  }
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (!is_below(fd)) return REAL(writev)(fd, parts, count);
  switch (counted(1)) {
    case KILL: die();
    case FULL_NOW: case FULL: return no_space();
    default: return REAL(writev)(fd, parts, count);
  }
}

static ssize_t write_at(int fd, const void *bytes, size_t count, off64_t at) {
  __typeof__(&pwrite64) real = REAL(pwrite64);
  if (!is_below(fd)) return real(fd, bytes, count, at);
  switch (counted(1)) {
    case KILL: if (count > 1) real(fd, bytes, count / 2, at); die();
    case FULL_NOW: return count > 1 ? real(fd, bytes, count / 2, at) : no_space();
    case FULL: return no_space();
    default: return real(fd, bytes, count, at);
  }
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) { return write_at(fd, bytes, count, at); }
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return write_at(fd, bytes, count, at); }

static int grow(int fd, off64_t length) {
  __typeof__(&ftruncate64) real = REAL(ftruncate64);
  if (!is_below(fd)) return real(fd, length);
  switch (counted(1)) {
    case KILL: die();
    case FULL_NOW: case FULL: return (int)no_space();
    default: return real(fd, length);
  }
}
int ftruncate64(int fd, off64_t length) { return grow(fd, length); }
int ftruncate(int fd, off_t length) { return grow(fd, length); }

int fsync(int fd) {
  if (is_below(fd) && counted(0) == KILL) die();
  return REAL(fsync)(fd);
}
int fdatasync(int fd) {
  if (is_below(fd) && counted(0) == KILL) die();
  return REAL(fdatasync)(fd);
}
