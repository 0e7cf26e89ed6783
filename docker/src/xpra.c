/* /usr/local/bin/xpra: what xpra clients find when they come in by ssh.
 *
 * `xpra _proxy [DISPLAY ...]` joins the caller to this desktop's xpra server, whatever display it
 * names: here is just the one. A start under way is waited for. Everything else is the real xpra's.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define REAL_XPRA "/usr/bin/xpra"
#define SERVER_SOCKET "/run/desk/xpra.sock"
#define WAIT_SECONDS 60

static void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("xpra: ", stderr);
  vfprintf(stderr, format, arguments);
  fputs("\n", stderr);
  va_end(arguments);
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

/* After a failed call: may it be tried again? The caller's ends can be non-blocking ones. */
static int again(int fd, short event) {
  struct pollfd wait = {.fd = fd, .events = event};
  if (errno == EAGAIN) poll(&wait, 1, -1);
  return errno == EAGAIN || errno == EINTR;
}

static int write_all(int fd, const char *data, size_t size) {
  while (size > 0) {
    ssize_t n = write(fd, data, size);
    if (n < 0 && again(fd, POLLOUT)) continue;
    if (n <= 0) return -1;
    data += n;
    size -= (size_t)n;
  }
  return 0;
}

/* Copy until the source ends (0) or the sink is gone (-1). */
static int copy(int from, int to, char *buffer, size_t size) {
  for (;;) {
    ssize_t n = read(from, buffer, size);
    if (n < 0 && again(from, POLLIN)) continue;
    if (n <= 0) return 0;
    if (write_all(to, buffer, (size_t)n)) return -1;
  }
}

static int connect_server(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SERVER_SOCKET};
  double deadline = now() + WAIT_SECONDS;
  for (;;) {
    int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server < 0) fail("cannot make a socket: %s.", strerror(errno));
    if (connect(server, (struct sockaddr *)&address, sizeof address) == 0) return server;
    int reason = errno;
    close(server);
    if (reason != ENOENT && reason != ECONNREFUSED && reason != EAGAIN && reason != EINTR)
      fail("cannot reach the desktop: %s.", strerror(reason));
    if (now() >= deadline) fail("the desktop did not come up within %d seconds.", WAIT_SECONDS);
    poll(NULL, 0, 20);
  }
}

static void *client_to_server(void *argument) {
  static char buffer[1 << 16];
  int server = *(int *)argument;
  copy(STDIN_FILENO, server, buffer, sizeof buffer);
  shutdown(server, SHUT_WR);
  return NULL;
}

static int join_desktop(void) {
  static char buffer[1 << 16];
  static int server;
  pthread_t upward;
  signal(SIGPIPE, SIG_IGN);
  server = connect_server();
  if (pthread_create(&upward, NULL, client_to_server, &server)) fail("cannot start a thread.");
  if (copy(server, STDOUT_FILENO, buffer, sizeof buffer)) return 0;
  /* The server has said its last; it may still be listening. POLLHUP tells that it is not. */
  close(STDOUT_FILENO);
  struct pollfd gone = {.fd = server, .events = 0};
  while (poll(&gone, 1, -1) < 0 && errno == EINTR) {
  }
  return 0;
}

int main(int count, char **arguments) {
  if (count >= 2 && strcmp(arguments[1], "_proxy") == 0) return join_desktop();
  execv(REAL_XPRA, arguments);
  fprintf(stderr, "xpra: cannot run %s: %s.\n", REAL_XPRA, strerror(errno));
  return 127;
}
