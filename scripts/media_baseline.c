/* The least that a server can do: AudioSocket in C, one thread, epoll. The baseline of measure_media.py.
 *
 *   cc -O2 -o media_baseline media_baseline.c
 *   media_baseline PORT echo      each audio message is sent back as it comes
 *   media_baseline PORT play      each call gets a frame every 20 ms, the calls spread over 20 slots of 1 ms
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 3, FRAME = 320, SLOTS = 20, SLOT_NS = 1000000, MOST = 8192, AUDIO = 0x10, AUDIO_LAST = 0x18 };

struct call {
    int fd, slot, place;      /* place: among the calls of its slot; slot -1: not playing */
    size_t have;              /* bytes of a message that has not come whole yet */
    uint8_t part[4096];
};

static struct call *slots[SLOTS][MOST];
static int filled[SLOTS];
static int playing;

static void end(struct call *call) {
    if (call->slot >= 0) {
        struct call *last = slots[call->slot][--filled[call->slot]];
        slots[call->slot][call->place] = last;
        last->place = call->place;
    }
    close(call->fd);
    free(call);
}

static void heard(struct call *call) {
    static uint8_t data[4096 + 65536];
    memcpy(data, call->part, call->have);
    ssize_t got = recv(call->fd, data + call->have, 65536, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) { end(call); return; }
    size_t all = call->have + (size_t)got, at = 0;
    while (all - at >= HEADER) {
        size_t length = HEADER + ((size_t)data[at + 1] << 8 | data[at + 2]);
        if (all - at < length) break;
        if (data[at] == 0) { end(call); return; }
        if (!playing && data[at] >= AUDIO && data[at] <= AUDIO_LAST
            && send(call->fd, data + at, length, MSG_NOSIGNAL) < 0 && errno != EAGAIN) { end(call); return; }
        at += length;
    }
    call->have = all - at;
    if (call->have > sizeof call->part) { end(call); return; }
    memcpy(call->part, data + at, call->have);
}

static void begin(int epoll, int fd) {
    static int next;
    int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct call *call = calloc(1, sizeof *call);
    if (!call) abort();
    call->fd = fd;
    call->slot = -1;
    if (playing && filled[next % SLOTS] < MOST) {
        call->slot = next++ % SLOTS;
        call->place = filled[call->slot]++;
        slots[call->slot][call->place] = call;
    }
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = call };
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static void play(int timer) {
    static uint8_t frame[HEADER + FRAME];
    static unsigned tick;
    uint64_t due;
    if (!frame[0]) {
        frame[0] = AUDIO; frame[1] = FRAME >> 8; frame[2] = FRAME & 255;
        for (int i = 0; i < FRAME; i++) frame[HEADER + i] = (uint8_t)(i * 7 + 1);
    }
    if (read(timer, &due, sizeof due) != sizeof due) return;
    for (; due; due--, tick++)
        for (int i = 0, slot = tick % SLOTS; i < filled[slot]; i++)
            send(slots[slot][i]->fd, frame, sizeof frame, MSG_NOSIGNAL | MSG_DONTWAIT);
}

int main(int count, char **words) {
    if (count != 3 || (strcmp(words[2], "echo") && strcmp(words[2], "play"))) {
        fprintf(stderr, "usage: media_baseline PORT echo|play\n");
        return 2;
    }
    playing = !strcmp(words[2], "play");
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int yes = 1, epoll = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[1])) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
        perror("media_baseline");
        return 1;
    }
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = &listener };
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    if (playing) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        struct itimerspec every = { { 0, SLOT_NS }, { now.tv_sec + 1, 0 } };
        timerfd_settime(timer, TFD_TIMER_ABSTIME, &every, NULL);
        event.data.ptr = &timer;
        epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event);
    }
    for (;;) {
        struct epoll_event events[256];
        int ready = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr == &listener) {
                int fd;
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) begin(epoll, fd);
            } else if (events[i].data.ptr == &timer) {
                play(timer);
            } else {
                heard(events[i].data.ptr);
            }
        }
    }
}
