/* SPDX-License-Identifier: ISC */
/*
 * terminal.c - the terminal as a screen to draw on, given back as it was
 *
 * The handlers give it back themselves (write, tcsetattr, raise and sigaction may be called in a
 * handler, signal-safety(7)), so that Ctrl-C works also while a database that hangs is waited for.
 */
#include "terminal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static const char ENTER[] = "\x1b[?1049h\x1b[?25l\x1b[H\x1b[J", LEAVE[] = "\x1b[?25h\x1b[?1049l";
static struct termios before;
static bool has_keys; /* stdin is a terminal */
static volatile sig_atomic_t redraw;

static void put(const char *text, size_t len)
{
	ssize_t written;

	while (len > 0) {
		written = write(STDOUT_FILENO, text, len);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return;
		text += written;
		len -= (size_t)written;
	}
}

static void enter(void)
{
	struct termios quiet = before;

	quiet.c_lflag &= ~(tcflag_t)(ECHO | ICANON);
	if (has_keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &quiet);
	put(ENTER, sizeof(ENTER) - 1);
}

static void leave(void)
{
	put(LEAVE, sizeof(LEAVE) - 1);
	if (has_keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
}

/* The kernel ends the process once the handler has returned and the signal is let through again. */
static void on_end(int signal_number)
{
	struct sigaction end;

	leave();
	memset(&end, 0, sizeof(end));
	end.sa_handler = SIG_DFL;
	sigaction(signal_number, &end, NULL);
	raise(signal_number);
}

static void on_suspend(int signal_number)
{
	int saved = errno;

	(void)signal_number;
	leave();
	raise(SIGSTOP);
	enter();
	redraw = 1;
	errno = saved;
}

static void on_size(int signal_number)
{
	(void)signal_number;
	redraw = 1;
}

static void handle(int signal_number, void (*handler)(int))
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = handler;
	action.sa_flags = SA_RESTART;
	sigfillset(&action.sa_mask);
	sigaction(signal_number, &action, NULL);
}

void terminal_open(void)
{
	static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

	has_keys = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		handle(ends[i], on_end);
	handle(SIGTSTP, on_suspend);
	handle(SIGWINCH, on_size);
	enter();
}

void terminal_close(void)
{
	leave();
}

void terminal_size(int *rows, int *columns)
{
	struct winsize size = {0};

	*rows = 24;
	*columns = 80;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0) {
		*rows = size.ws_row;
		*columns = size.ws_col;
	}
}

bool terminal_write(const char *text)
{
	errno = 0;
	put(text, strlen(text));
	return errno == 0 || errno == EINTR;
}

enum terminal_event terminal_wait(int milliseconds)
{
	struct pollfd keys = {has_keys ? STDIN_FILENO : -1, POLLIN, 0};
	enum terminal_event event = TERMINAL_TIME;
	struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
	sigset_t size, normal;
	char key;

	/* Otherwise a signal between the question and poll() would wait for the next time. */
	sigemptyset(&size);
	sigaddset(&size, SIGWINCH);
	sigaddset(&size, SIGTSTP);
	sigprocmask(SIG_BLOCK, &size, &normal);
	if (!redraw && ppoll(&keys, 1, &time, &normal) > 0)
		event = read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q'
			    ? TERMINAL_QUIT
			    : TERMINAL_REDRAW;
	if (redraw && event != TERMINAL_QUIT)
		event = TERMINAL_REDRAW;
	redraw = 0;
	sigprocmask(SIG_SETMASK, &normal, NULL);
	return event;
}
