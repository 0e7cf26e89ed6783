/* /usr/local/bin/desk-ready: wait until the desktop can be used.
 *
 * Usable means that both servers answer a question: a socket that is there can be a dead one.
 * It is C because it is run at each start, where an interpreter's own start would be most of the time.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define DISPLAY_FILE "/run/desk/display"
#define AUTHORITY_FILE "/run/desk/server.auth"
#define XPRA_SOCKET "/run/desk/xpra.sock"
#define COOKIE_NAME "MIT-MAGIC-COOKIE-1"
#define COOKIE_SIZE 16
#define DEFAULT_SECONDS 60
#define LONGEST_SECONDS 3600

static double deadline;

static double left(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return deadline - (t.tv_sec + t.tv_nsec / 1e9);
}

/* A connection whose reads and writes end with the deadline at the latest; -1 if there is none. */
static int dial(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  double seconds = left();
  struct timeval limit = {.tv_sec = seconds > 1 ? (time_t)seconds : 1};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
  close(fd);
  return -1;
}

/* Send a question and tell whether an answer of `size` bytes came. */
static int ask(const char *path, const void *question, size_t length, unsigned char *answer, size_t size) {
  int fd = dial(path);
  if (fd < 0) return 0;
  size_t got = 0;
  if (send(fd, question, length, MSG_NOSIGNAL) == (ssize_t)length) {
    while (got < size) {
      ssize_t n = recv(fd, answer + got, size - got, 0);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      got += (size_t)n;
    }
  }
  close(fd);
  return got == size;
}

static int read_file(const char *path, unsigned char *data, int size) {
  FILE *file = fopen(path, "rb");
  if (!file) return 0;
  int got = (int)fread(data, 1, (size_t)size, file);
  fclose(file);
  return got;
}

/* The X server's hello: its first byte is 1 when it takes the client in. */
static int x_answers(void) {
  unsigned char number[16] = {0}, authority[256], answer[8];
  int size = read_file(AUTHORITY_FILE, authority, sizeof authority);
  if (!read_file(DISPLAY_FILE, number, sizeof number - 1) || size < COOKIE_SIZE) return 0;
  char path[64];
  snprintf(path, sizeof path, "/tmp/.X11-unix/X%d", atoi((char *)number));
  struct {
    uint8_t order, unused;
    uint16_t major, minor, name_size, data_size, padding;
    char name[20];
    unsigned char data[COOKIE_SIZE];
  } hello = {.major = 11, .name_size = sizeof COOKIE_NAME - 1, .data_size = COOKIE_SIZE, .name = COOKIE_NAME};
  uint16_t probe = 1;
  hello.order = *(uint8_t *)&probe ? 'l' : 'B';
  /* The authority file holds one entry, and the cookie is its end. */
  memcpy(hello.data, authority + size - COOKIE_SIZE, COOKIE_SIZE);
  return ask(path, &hello, sizeof hello, answer, sizeof answer) && answer[0] == 1;
}

/* xpra's version request: a header of 8 bytes, and a bencoded hello. */
static int xpra_answers(void) {
  static const char hello[] = "l5:hellod7:bencodei1e17:compression_leveli0e7:request7:version7:version5:5.1.615:version_requesti1eee";
  unsigned char packet[8 + sizeof hello - 1] = {'P', 0, 0, 0, 0, 0, 0, sizeof hello - 1};
  unsigned char answer[8];
  memcpy(packet + 8, hello, sizeof hello - 1);
  return ask(XPRA_SOCKET, packet, sizeof packet, answer, sizeof answer) && answer[0] == 'P';
}

static void too_late(int number) {
  static const char text[] = "desk-ready: the desktop did not come up in time.\n";
  (void)number;
  if (write(STDERR_FILENO, text, sizeof text - 1) < 0) _exit(1);
  _exit(1);
}

static int usage(void) {
  fprintf(stderr, "usage: desk-ready [--timeout SECONDS]   (1 to %d; %d when not given)\n", LONGEST_SECONDS, DEFAULT_SECONDS);
  return 2;
}

int main(int count, char **arguments) {
  long seconds = DEFAULT_SECONDS;
  if (count != 1) {
    char *end = NULL;
    if (count != 3 || strcmp(arguments[1], "--timeout") != 0) return usage();
    seconds = strtol(arguments[2], &end, 10);
    if (*arguments[2] == '\0' || *end != '\0' || seconds < 1 || seconds > LONGEST_SECONDS) return usage();
  }
  deadline = 0;
  deadline = seconds - left();
  signal(SIGALRM, too_late);
  alarm((unsigned)seconds);
  while (!x_answers()) poll(NULL, 0, 10);
  while (!xpra_answers()) poll(NULL, 0, 10);
  return 0;
}
