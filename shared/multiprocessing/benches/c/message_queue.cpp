/* What the Queue is measured against: the message_queue of boost.interprocess, which does not survive a killed producer or consumer.
 * Arguments: capacity, messages. Prints messages per second. */
#include <boost/interprocess/ipc/message_queue.hpp>
#include <string>

#include "common.h"

using boost::interprocess::message_queue;

int main(int argc, char **argv) {
    uint64_t capacity = number(argc, argv, 1), messages = number(argc, argv, 2);
    std::string name = "bench.boost." + std::to_string(getpid());
    message_queue queue(boost::interprocess::create_only, name.c_str(), capacity, sizeof(uint64_t));
    message_queue::remove(name.c_str()); /* The mapping stays. */
    double begun = seconds();
    if (fork() == 0) {
        for (uint64_t message = 0; message < messages; message++)
            queue.send(&message, sizeof message, 0);
        _exit(0);
    }
    for (uint64_t message = 0; message < messages; message++) {
        uint64_t taken;
        message_queue::size_type bytes;
        unsigned int priority;
        queue.receive(&taken, sizeof taken, bytes, priority);
        require(taken == message, "the order");
    }
    double lasted = seconds() - begun;
    join_all();
    printf("%.0f\n", messages / lasted);
    return 0;
}
