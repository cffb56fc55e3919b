/* What the Event is measured against: two processes that wake each other by turns, over and over, with two flags. Arguments: 0 for
 * flags that are futex words, 1 for flags under a mutex with a condition variable; rounds, of two wakes each. Prints wakes per
 * second. */
#define _GNU_SOURCE
#include "common.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>

struct flag {
    _Atomic uint32_t word;
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    int set;
};

static void set_word(struct flag *flag) {
    if (atomic_exchange(&flag->word, 1) == 0)
        syscall(SYS_futex, &flag->word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void wait_for_word(struct flag *flag) {
    while (atomic_load(&flag->word) == 0)
        syscall(SYS_futex, &flag->word, FUTEX_WAIT, 0, NULL, NULL, 0);
    atomic_store(&flag->word, 0);
}

static void set_condition(struct flag *flag) {
    pthread_mutex_lock(&flag->mutex);
    flag->set = 1;
    pthread_cond_broadcast(&flag->condition);
    pthread_mutex_unlock(&flag->mutex);
}

static void wait_for_condition(struct flag *flag) {
    pthread_mutex_lock(&flag->mutex);
    while (!flag->set)
        pthread_cond_wait(&flag->condition, &flag->mutex);
    flag->set = 0;
    pthread_mutex_unlock(&flag->mutex);
}

int main(int argc, char **argv) {
    long by_condition = number(argc, argv, 1), rounds = number(argc, argv, 2);
    struct flag *flags = shared_memory(2 * sizeof *flags);
    for (int i = 0; i < 2; i++) {
        make_robust(&flags[i].mutex);
        make_condition(&flags[i].condition);
    }
    void (*set)(struct flag *) = by_condition ? set_condition : set_word;
    void (*wait_for)(struct flag *) = by_condition ? wait_for_condition : wait_for_word;
    double begun = seconds();
    if (fork() == 0) {
        for (long round = 0; round < rounds; round++) {
            wait_for(&flags[0]);
            set(&flags[1]);
        }
        _exit(0);
    }
    for (long round = 0; round < rounds; round++) {
        set(&flags[0]);
        wait_for(&flags[1]);
    }
    double lasted = seconds() - begun;
    join_all();
    printf("%.0f\n", 2 * rounds / lasted);
    return 0;
}
