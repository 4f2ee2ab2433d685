// The container that holds a pod's namespaces: waits until it is told to end, and reaps what the pod's other processes leave.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int signal) {
  (void)signal;
  _exit(0);
}

int main(void) {
  signal(SIGINT, end);
  signal(SIGTERM, end);
  for (;;) {
    while (waitpid(-1, 0, 0) > 0) {
    }
    pause();
  }
}
