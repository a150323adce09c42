/* Follows a published run from C, with nothing but libzmq.
 *
 *     cc -o subscriber examples/subscriber.c -lzmq
 *     ./subscriber ipc:///tmp/run.sock action.net action.proc
 *
 * Prints each record's exact line; says on stderr when messages are missing. Exit status: 0 when
 * the run has ended as it should, 3 when it was cut off or something is missing.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define TOPICS 512

/* The last number seen of each topic. */
static struct { char topic[64]; uint64_t number; } seen[TOPICS];
static int topics;

/* How many messages of `topic` are missing before message `number`. */
static uint64_t missing(const char *topic, uint64_t number)
{
    for (int i = 0; i < topics; i++)
        if (strcmp(seen[i].topic, topic) == 0) {
            uint64_t lost = number - seen[i].number - 1;
            seen[i].number = number;
            return lost;
        }
    if (topics < TOPICS) {
        snprintf(seen[topics].topic, sizeof seen[topics].topic, "%s", topic);
        seen[topics++].number = number;
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: subscriber URL [TOPIC...]\n");
        return 2;
    }
    void *context = zmq_ctx_new();
    void *sub = zmq_socket(context, ZMQ_SUB);
    for (int i = 2; i < argc; i++)
        zmq_setsockopt(sub, ZMQ_SUBSCRIBE, argv[i], strlen(argv[i]));
    if (argc == 2)
        zmq_setsockopt(sub, ZMQ_SUBSCRIBE, "action.", 7);
    zmq_setsockopt(sub, ZMQ_SUBSCRIBE, "stream.", 7);
    if (zmq_connect(sub, argv[1]) != 0) {
        fprintf(stderr, "%s: %s\n", argv[1], zmq_strerror(zmq_errno()));
        return 2;
    }
    int joined = 0, status = 0;
    for (;;) {
        char head[512], topic[64];
        uint64_t number;
        int64_t seq;
        int size = zmq_recv(sub, head, sizeof head - 1, ZMQ_DONTWAIT);
        if (size < 0 && zmq_errno() == EAGAIN) {
            fflush(stdout); /* once a burst, and not for each record */
            size = zmq_recv(sub, head, sizeof head - 1, 0);
        }
        if (size < 0)
            break;
        head[size < (int)sizeof head ? size : (int)sizeof head - 1] = '\0';
        zmq_msg_t payload;
        zmq_msg_init(&payload);
        zmq_msg_recv(&payload, sub, 0);
        if (sscanf(head, "%63s %" SCNd64 " %" SCNu64, topic, &seq, &number) != 3) {
            fprintf(stderr, "%s: not a run of Capsule\n", argv[1]);
            return 2;
        }
        if (strcmp(topic, "stream.end") == 0) {
            char *text = calloc(1, zmq_msg_size(&payload) + 1);
            memcpy(text, zmq_msg_data(&payload), zmq_msg_size(&payload));
            if (strstr(text, "\"complete\":true") == NULL)
                status = 3;
            free(text);
            zmq_msg_close(&payload);
            break;
        }
        if (strcmp(topic, "stream.heartbeat") == 0) {
            if (!joined++)
                fprintf(stderr, "joined\n");
        } else {
            uint64_t lost = missing(topic, number);
            if (lost) {
                fprintf(stderr, "%" PRIu64 " of %s missing before record %" PRId64 "\n",
                        lost, topic, seq);
                status = 3;
            }
            fwrite(zmq_msg_data(&payload), 1, zmq_msg_size(&payload), stdout);
            putchar('\n');
        }
        zmq_msg_close(&payload);
    }
    zmq_close(sub);
    zmq_ctx_term(context);
    return status;
}
