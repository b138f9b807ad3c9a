/*
 * check_login.c - the part of `check` about what others could read: the connection to the database,
 * and files with secrets
 */
#include "check.h"

#include "base/xalloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- the connection ---- */

#define VERIFY "set sslmode=verify-full, and sslrootcert= to the certificates of the server's CA"

static bool is_local(const PGconn *conn)
{
	const char *host = PQhost(conn), *address = PQhostaddr(conn);

	return (host && (host[0] == '/' || host[0] == '@')) ||
	       (address && (strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0));
}

/* As libpq has it of dsn, service file, environment and default; the caller frees it. */
static char *sslmode_of(PGconn *conn)
{
	PQconninfoOption *options = PQconninfo(conn), *option;
	char *mode = NULL;

	for (option = options; option && option->keyword; option++)
		if (strcmp(option->keyword, "sslmode") == 0 && option->val)
			mode = xstrdup(option->val);
	PQconninfoFree(options);
	return mode ? mode : xstrdup("");
}

void check_transport(struct check *check, PGconn *conn)
{
	char *mode = sslmode_of(conn);
	const char *protocol = PQsslAttribute(conn, "protocol");
	bool verified = strncmp(mode, "verify-", 7) == 0;

	if (PQsslInUse(conn) && verified)
		check_ok(check, "the connection to the database uses %s, sslmode=%s",
			 protocol ? protocol : "TLS", mode);
	else if (is_local(conn) || PQgssEncInUse(conn))
		check_ok(check,
			 "the connection to the database does not leave this machine in plain "
			 "text");
	else if (PQsslInUse(conn))
		check_warn(check, VERIFY,
			   "the connection to the database at %s uses TLS, but sslmode=%s does not "
			   "verify that it leads there",
			   PQhost(conn), mode);
	else
		check_warn(check, VERIFY,
			   "the connection to the database at %s is in plain text: events can be "
			   "read and changed on the way",
			   PQhost(conn));
	free(mode);
}

/* ---- files ---- */

/* The group may: that is how Kubernetes (fsGroup) and packages give a file to a service. */
static void check_file(struct check *check, const char *path)
{
	struct stat status;
	char *remedy;

	if (path[0] == '\0' || stat(path, &status) != 0 || !(status.st_mode & S_IROTH))
		return;
	remedy = xasprintf("run chmod o-rwx %s", path);
	check_warn(check, remedy, "%s holds a secret, and every user of this machine may read it",
		   path);
	free(remedy);
}

/* Files that librdkafka reads. */
static void check_property(struct check *check, const char *property)
{
	static const char *const names[] = {
	    "ssl.key.location=", "ssl.keystore.location=", "sasl.kerberos.keytab="};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(property, names[i], strlen(names[i])) == 0)
			check_file(check, property + strlen(names[i]));
}

void check_secret_files(struct check *check, const char *path, const struct config *config)
{
	if (config->holds_secret)
		check_file(check, path);
	for (size_t i = 0; i < config->secret_files.count; i++)
		check_file(check, config->secret_files.items[i]);
	check_file(check, config->database.password_file);
	check_file(check, config->kafka.sasl_password_file);
	for (size_t i = 0; i < config->kafka.properties.count; i++)
		check_property(check, config->kafka.properties.items[i]);
}
