/* SPDX-License-Identifier: Apache-2.0
 * Programs of the host that doppel waits for. They are a process group, which gets what is meant to end doppel: so none
 * of it stays behind.
 */
#include "cli/program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* What ends doppel (not what nohup has it ignore), and the end of a child. */
static void hold_signals(sigset_t *held, sigset_t *before)
{
	static const int stops[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct sigaction was;

	signal(SIGCHLD, SIG_DFL);
	sigemptyset(held);
	sigaddset(held, SIGCHLD);
	for (unsigned i = 0; i < ARRAY_SIZE(stops); i++)
		if (!sigaction(stops[i], NULL, &was) && was.sa_handler != SIG_IGN)
			sigaddset(held, stops[i]);
	sigprocmask(SIG_BLOCK, held, before);
}

static _Noreturn void become(char *const argv[], const sigset_t *mask)
{
	int null = open("/dev/null", O_RDONLY);

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	signal(SIGTTOU, SIG_IGN); /* it is in the background now, and may write all the same */
	if (null > 0)
		dup2(null, STDIN_FILENO);
	dup2(STDERR_FILENO, STDOUT_FILENO);
	sigprocmask(SIG_SETMASK, mask, NULL);
	execvp(argv[0], argv);
	_exit(127);
}

int program_run(char *const argv[], int *sig)
{
	sigset_t held, before;
	int status = -1;
	pid_t pid;

	hold_signals(&held, &before);
	pid = fork();
	if (!pid)
		become(argv, &before);
	if (pid > 0)
		setpgid(pid, pid);
	while (pid > 0 && !waitpid(pid, &status, WNOHANG)) {
		int got = sigwaitinfo(&held, NULL);

		if (got <= 0 || got == SIGCHLD)
			continue;
		*sig = got;
		kill(-pid, got == SIGQUIT ? SIGTERM : got);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return status;
}
