/* What Process is measured against: children that are forked, end, and are waited for, one after the other. Argument: how many.
 * Prints how many per second. */
#include "common.h"

int main(int argc, char **argv) {
    long children = number(argc, argv, 1);
    double begun = seconds();
    for (long child = 0; child < children; child++) {
        pid_t pid = fork();
        require(pid >= 0, "fork");
        if (pid == 0)
            _exit(0);
        int status;
        require(waitpid(pid, &status, 0) == pid && status == 0, "waitpid");
    }
    printf("%.0f\n", children / (seconds() - begun));
    return 0;
}
