/*
 * Bare pre-fork server: the least a process pool can do per batch, and so the yardstick for ours.
 *
 * Every worker accepts on one inherited socket, reads a request of a fixed size, answers three bytes and closes; or, with
 * `kept`, reads the next request of the same connection until the client leaves. Nothing is parsed, locked or stored.
 *
 *     bare_prefork PORT WORKERS REQUEST_BYTES [kept]
 *
 * PORT 0 means any free one; the chosen port is printed on one line of stdout once the socket listens. The parent only waits:
 * SIGTERM ends it in the default way, and the kernel then ends the workers.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* The backlog our own server asks for by default. */
enum { BACKLOG = 1024 };

/* Stands for a reply: any three bytes. */
static const char REPLY[3] = {0, 0, 0};

_Noreturn static void fail(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

/* The number in `text`, which must lie between `min` and `max`. */
static long parse(const char *text, const char *name, long min, long max)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < min || value > max) {
        fprintf(stderr, "%s is %s, expected a number from %ld to %ld\n", name, text, min, max);
        exit(2);
    }
    return value;
}

static int listen_on(in_port_t port)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0)
        fail("socket");
    const int on = 1;
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        fail("setsockopt");
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t length = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, length) < 0)
        fail("bind");
    if (listen(listener, BACKLOG) < 0)
        fail("listen");
    if (getsockname(listener, (struct sockaddr *)&address, &length) < 0)
        fail("getsockname");
    printf("action: listen | result: success | port: %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

/* Reads one whole request and answers it; whether the client is still there. One that leaves early gets no answer. */
static bool serve(int client, char *request, size_t request_bytes)
{
    size_t received = 0;
    while (received < request_bytes) {
        ssize_t got = recv(client, request + received, request_bytes - received, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        received += (size_t)got;
    }
    /* Three bytes into an empty send buffer: never short. A failure means the client left, which is its own business. */
    return send(client, REPLY, sizeof REPLY, MSG_NOSIGNAL) == sizeof REPLY;
}

_Noreturn static void work(int listener, size_t request_bytes, bool kept, pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        fail("prctl");
    if (getppid() != parent) /* It died before the line above took effect. */
        exit(EXIT_FAILURE);
    char *request = malloc(request_bytes);
    if (request == NULL)
        fail("malloc");
    for (;;) {
        int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (client >= 0) {
            while (serve(client, request, request_bytes) && kept)
                continue;
            close(client);
        } else if (errno != EINTR && errno != ECONNABORTED) {
            fail("accept");
        }
    }
}

int main(int argc, char **argv)
{
    bool kept = argc == 5 && strcmp(argv[4], "kept") == 0;
    if (argc != 4 && !kept) {
        fprintf(stderr, "usage: %s PORT WORKERS REQUEST_BYTES [kept]\n", argv[0]);
        return 2;
    }
    in_port_t port = (in_port_t)parse(argv[1], "PORT", 0, 65535);
    long workers = parse(argv[2], "WORKERS", 1, 1024);
    size_t request_bytes = (size_t)parse(argv[3], "REQUEST_BYTES", 1, 1L << 24);

    int listener = listen_on(port);
    pid_t parent = getpid();
    for (long worker = 0; worker < workers; worker++) {
        pid_t child = fork();
        if (child < 0)
            fail("fork");
        if (child == 0)
            work(listener, request_bytes, kept, parent);
    }
    /* Workers only end on an error they have printed; without all of them a measurement is worth nothing. */
    wait(NULL);
    return EXIT_FAILURE;
}
