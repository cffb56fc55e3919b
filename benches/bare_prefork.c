/*
 * Bare pre-fork server: the least work that a process pool can do per batch, as the baseline for
 * the central.
 *
 * Every worker accepts on one inherited socket, reads a request of a fixed size, replies with three
 * bytes and closes. With `kept` it reads further requests from the same connection until the client
 * closes it. With `more` the reply waits for the close and leaves in one segment with it (MSG_MORE).
 * The server does not parse, lock or store anything.
 *
 *     bare_prefork PORT WORKERS REQUEST_BYTES [kept|more]
 *
 * With PORT 0 the kernel chooses a free port. One line on stdout names the port when the socket
 * listens. The parent only waits: SIGTERM ends it by default action, and the kernel then kills the
 * workers.
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

/* Same as the central's default backlog. */
enum { BACKLOG = 1024 };

/* The reply: any three bytes. */
static const char REPLY[3] = {0, 0, 0};

_Noreturn static void fail(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

/* Parses the number in `text`, which must be between `min` and `max`. */
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

/* Reads one complete request and replies. Returns true if the connection can carry another one. */
static bool serve(int client, char *request, size_t request_bytes, int flags)
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
    /* Never a short write: the send buffer is empty. It fails only if the client has closed. */
    return send(client, REPLY, sizeof REPLY, MSG_NOSIGNAL | flags) == sizeof REPLY;
}

_Noreturn static void work(int listener, size_t request_bytes, bool kept, int flags, pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        fail("prctl");
    if (getppid() != parent) /* The parent died before prctl took effect. */
        exit(EXIT_FAILURE);
    char *request = malloc(request_bytes);
    if (request == NULL)
        fail("malloc");
    for (;;) {
        int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (client >= 0) {
            while (serve(client, request, request_bytes, flags) && kept)
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
    bool more = argc == 5 && strcmp(argv[4], "more") == 0;
    if (argc != 4 && !kept && !more) {
        fprintf(stderr, "usage: %s PORT WORKERS REQUEST_BYTES [kept|more]\n", argv[0]);
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
            work(listener, request_bytes, kept, more ? MSG_MORE : 0, parent);
    }
    /* A worker ends only after printing an error. Without all workers a measurement is invalid. */
    wait(NULL);
    return EXIT_FAILURE;
}
