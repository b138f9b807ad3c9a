/*
 * check.c - the shape of values that are more than a word or a number
 */
#include "base/pgname.h"
#include "table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

bool config_check_table(const char *text, struct error *err)
{
	struct pgname name;

	return pgname_parse(text, &name, err) && pgname_check(&name, err);
}

static bool is_port(const char *text)
{
	size_t len = strspn(text, "0123456789");

	return len > 0 && len <= 5 && text[len] == '\0' && atoi(text) <= 65535;
}

bool config_check_listen(const char *text, struct error *err)
{
	const char *colon = strrchr(text, ':');
	const char *bracket = strchr(text, ']');
	size_t path_max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;

	if (*text == '\0')
		return true;
	if (strncmp(text, "unix:", 5) == 0) {
		if (text[5] != '/' || strlen(text + 5) > path_max)
			return error_set(err,
					 "\"%s\" needs an absolute path of at most %zu bytes after "
					 "unix:",
					 text, path_max);
		return true;
	}
	/* An IPv6 address has colons of its own, so it must be in brackets. */
	if (colon == NULL || colon == text || !is_port(colon + 1) ||
	    (*text == '[' ? bracket == NULL || bracket + 1 != colon
			  : memchr(text, ':', (size_t)(colon - text)) != NULL))
		return error_set(err,
				 "\"%s\" is no address; write \"host:port\", \"[v6]:port\", "
				 "\"unix:/path\", or \"\" to listen nowhere",
				 text);
	return true;
}

bool config_check_header(const char *text, struct error *err)
{
	if (*text == '=' || strchr(text, '=') == NULL)
		return error_set(err, "\"%s\" is not name=template, such as \"id=${event_id}\"",
				 text);
	return true;
}

/* Quotes nothing but names: the value may be a secret, and so may be a text without "=". */
bool config_check_property(const char *text, struct error *err)
{
	char name[128];
	size_t len = strcspn(text, "=");
	const char *why;

	if (text[len] == '\0' || len == 0)
		return error_set(err, "not name=value; write such as \"compression.codec=lz4\"");
	if (len >= sizeof(name) || strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._") < len)
		return error_set(err, "the name before \"=\" is no librdkafka property; names have "
				      "lower-case letters, digits, dots and no blanks");
	memcpy(name, text, len);
	name[len] = '\0';
	why = config_property_denied(name);
	if (why != NULL)
		return error_set(err, "%s is refused: %s; remove it", name, why);
	return true;
}
