/* What Pipe is measured against: messages behind their length through a stream socketpair, which a killed sender tears. Arguments: 1 for
 * round trips or 0 for one way, bytes of a message, messages. Prints round trips, or messages, per second. */
#include "common.h"

#include <sys/socket.h>
#include <sys/uio.h>

static void put(int socket, char *message, uint64_t bytes) {
    struct iovec parts[] = {{&bytes, sizeof bytes}, {message, bytes}};
    size_t left = sizeof bytes + bytes;
    for (;;) {
        struct msghdr header = {.msg_iov = parts, .msg_iovlen = 2};
        ssize_t sent = sendmsg(socket, &header, MSG_NOSIGNAL);
        if (sent < 0)
            _exit(1);
        if ((left -= sent) == 0)
            return;
        for (int part = 0; part < 2; part++) {
            size_t of_it = (size_t)sent < parts[part].iov_len ? (size_t)sent : parts[part].iov_len;
            parts[part].iov_base = (char *)parts[part].iov_base + of_it;
            parts[part].iov_len -= of_it;
            sent -= of_it;
        }
    }
}

static void take(int socket, char *message, uint64_t bytes) {
    uint64_t count;
    if (recv(socket, &count, sizeof count, MSG_WAITALL) != sizeof count || count != bytes ||
        recv(socket, message, bytes, MSG_WAITALL) != (ssize_t)bytes)
        _exit(1);
}

int main(int argc, char **argv) {
    int ping = number(argc, argv, 1), ends[2];
    uint64_t bytes = number(argc, argv, 2), messages = number(argc, argv, 3);
    char *message = calloc(1, bytes);
    require(message && socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
    double begun = seconds();
    if (fork() == 0) {
        for (uint64_t done = 0; done < messages; done++) {
            if (ping)
                take(ends[1], message, bytes);
            put(ends[1], message, bytes);
        }
        _exit(0);
    }
    for (uint64_t done = 0; done < messages; done++) {
        if (ping)
            put(ends[0], message, bytes);
        take(ends[0], message, bytes);
    }
    double took = seconds() - begun;
    join_all();
    printf("%.0f\n", messages / took);
    return 0;
}
