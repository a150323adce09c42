/* threads COUNT ROUNDS: threads that fight for one lock and write while they hold it. */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long rounds;
static int sink;

static void *fight(void *unused)
{
    for (long left = rounds; left > 0; left--) {
        pthread_mutex_lock(&lock);
        if (write(sink, "x", 1) != 1)
            abort();
        pthread_mutex_unlock(&lock);
    }
    return unused;
}

int main(int argc, char **argv)
{
    pthread_t thread[64];
    int count = argc == 3 ? atoi(argv[1]) : 0;
    if (count < 1 || count > 64)
        return 2;
    rounds = atol(argv[2]);
    sink = open("/dev/null", O_WRONLY);
    for (int i = 0; i < count; i++)
        if (pthread_create(&thread[i], NULL, fight, NULL) != 0)
            return 1;
    for (int i = 0; i < count; i++)
        pthread_join(thread[i], NULL);
    return 0;
}
