/* The ceiling: what a switch of SSH packets costs at the least.
 *
 *     relay HOST PORT       prints the port on 127.0.0.1 that it relays to there
 *
 * One thread, epoll. It has no keys, so what passes stays as it is; but each 32 KiB of it, the size of
 * a packet of bulk data, is run through AES-128-GCM twice, opened and sealed, with the result thrown
 * away: the work that a door cannot save itself. It ends with the process that started it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ (256 << 10)
#define PACKET (32 << 10)
#define LENGTH 4
#define TAG 16

/* One side of a connection; `bytes` came from it and has to go to the other. */
struct side {
    int fd;
    struct side *other;
    uint32_t interest;
    size_t from, to;
    unsigned char bytes[READ];
};

static int poller;
static EVP_CIPHER_CTX *opening, *sealing;
static unsigned char nonce[12], length[LENGTH], plain[PACKET + TAG], sealed[PACKET + TAG], tag[TAG];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void switch_packets(const unsigned char *bytes, size_t count) {
    while (count > 0) {
        int size = count < PACKET ? (int)count : PACKET, wrote;
        EVP_DecryptInit_ex(opening, NULL, NULL, NULL, nonce);
        EVP_DecryptUpdate(opening, NULL, &wrote, length, LENGTH);
        EVP_DecryptUpdate(opening, plain, &wrote, bytes, size);
        EVP_EncryptInit_ex(sealing, NULL, NULL, NULL, nonce);
        EVP_EncryptUpdate(sealing, NULL, &wrote, length, LENGTH);
        EVP_EncryptUpdate(sealing, sealed, &wrote, plain, size);
        EVP_EncryptFinal_ex(sealing, sealed + wrote, &wrote);
        EVP_CIPHER_CTX_ctrl(sealing, EVP_CTRL_GCM_GET_TAG, TAG, tag);
        nonce[11]++;
        bytes += size;
        count -= size;
    }
}

/* Read a side when nothing of it waits, write it when something waits for it. */
static void watch(struct side *side) {
    uint32_t interest = (side->to ? 0 : EPOLLIN) | (side->other->to ? EPOLLOUT : 0);
    struct epoll_event event = {.events = interest, .data.ptr = side};
    if (interest != side->interest)
        epoll_ctl(poller, EPOLL_CTL_MOD, side->fd, &event);
    side->interest = interest;
}

static void end(struct side *side) {
    close(side->fd);
    close(side->other->fd);
    side->fd = side->other->fd = -1; /* freed with the process: the same batch may name them again */
}

static void pass_on(struct side *side) {
    ssize_t sent = send(side->other->fd, side->bytes + side->from, side->to - side->from, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        end(side);
        return;
    }
    if (sent > 0)
        side->from += sent;
    if (side->from == side->to)
        side->from = side->to = 0;
    watch(side);
    watch(side->other);
}

static void take(struct side *side) {
    ssize_t got = recv(side->fd, side->bytes, READ, 0);
    if (got > 0) {
        switch_packets(side->bytes, got);
        side->to = got;
        pass_on(side);
    } else if (got == 0 || errno != EAGAIN) {
        end(side);
    }
}

static struct side *new_side(int fd) {
    struct side *side = calloc(1, sizeof *side);
    int on = 1;
    if (!side)
        die("calloc");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    side->fd = fd;
    side->interest = EPOLLIN;
    return side;
}

static void accept_one(int listener, const struct sockaddr_in *target) {
    int near = accept(listener, NULL, NULL), far = socket(AF_INET, SOCK_STREAM, 0);
    if (near < 0 || far < 0 || connect(far, (const void *)target, sizeof *target)) {
        close(near);
        close(far);
        return;
    }
    struct side *sides[] = {new_side(near), new_side(far)};
    for (int i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = sides[i]};
        sides[i]->other = sides[1 - i];
        epoll_ctl(poller, EPOLL_CTL_ADD, sides[i]->fd, &event);
    }
}

int main(int count, char **words) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in target = {.sin_family = AF_INET};
    socklen_t size = sizeof here;
    unsigned char key[16] = {0};
    if (count != 3 || inet_pton(AF_INET, words[1], &target.sin_addr) != 1) {
        fprintf(stderr, "usage: relay HOST PORT\n");
        return 2;
    }
    target.sin_port = htons(atoi(words[2]));
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    opening = EVP_CIPHER_CTX_new();
    sealing = EVP_CIPHER_CTX_new();
    EVP_DecryptInit_ex(opening, EVP_aes_128_gcm(), NULL, key, nonce);
    EVP_EncryptInit_ex(sealing, EVP_aes_128_gcm(), NULL, key, nonce);

    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (void *)&here, sizeof here) || listen(listener, 100) ||
        getsockname(listener, (void *)&here, &size))
        die("listen");
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);
    poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        struct epoll_event events[64];
        int ready = epoll_wait(poller, events, 64, -1);
        for (int i = 0; i < ready; i++) {
            struct side *side = events[i].data.ptr;
            if (!side)
                accept_one(listener, &target);
            if (side && side->fd >= 0 && side->other->to && events[i].events & EPOLLOUT)
                pass_on(side->other);
            if (side && side->fd >= 0 && !side->to && events[i].events & ~EPOLLOUT)
                take(side);
        }
    }
}
