/* SPDX-License-Identifier: ISC */
/*
 * import_references.c - values that stand elsewhere
 *
 * Kafka Connect has ${provider:path:key} and ${provider:key} (ConfigTransformer); which providers
 * there are is in the worker's configuration. EnvVarConfigProvider and DirectoryConfigProvider have
 * their like here.
 */
#include "base/xalloc.h"
#include "import.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* A variable of the environment that is called as the option is; malloc'd. */
static char *variable_of(const char *option)
{
	const char *last = strrchr(option, ':');
	char *variable = xstrdup(last != NULL ? last + 1 : option);

	for (char *c = variable; *c != '\0'; c++)
		*c = (char)(isalnum((unsigned char)*c) ? toupper((unsigned char)*c) : '_');
	return variable;
}

/* What a reference of len bytes, without "${" and "}", is here; malloc'd, or NULL. */
static char *translate(const char *inner, size_t len)
{
	const char *rest = memchr(inner, ':', len), *key;
	size_t rest_len;

	if (rest == NULL)
		return xasprintf("${%.*s}", (int)len, inner);
	rest++;
	rest_len = len - (size_t)(rest - inner);
	if (strncmp(inner, "env:", 4) == 0 && memchr(rest, ':', rest_len) == NULL)
		return xasprintf("${%.*s}", (int)len, inner);
	key = memchr(rest, ':', rest_len);
	if (strncmp(inner, "directory:", 10) != 0 || key == NULL)
		return NULL;
	return xasprintf("${file:%.*s/%.*s}", (int)(key - rest), rest,
			 (int)(rest_len - (size_t)(key - rest) - 1), key + 1);
}

static void note_foreign(struct import *import, const struct debezium_option *option,
			 const char *variable)
{
	import_note(
	    import->notes, option->written, option->value,
	    "what it refers to is known to Kafka Connect only; set %s in the environment of "
	    "the relay, or write the value into the configuration",
	    variable);
}

char *import_text(struct import *import, const struct debezium_option *option)
{
	char *text = xstrdup(""), *variable = variable_of(option->name);
	const char *at = option->value, *open, *close;
	bool foreign = false;

	while ((open = strstr(at, "${")) != NULL && (close = strchr(open, '}')) != NULL) {
		char *here = translate(open + 2, (size_t)(close - open) - 2);

		foreign |= here == NULL;
		if (here != NULL)
			xappend(&text, "%.*s%s", (int)(open - at), at, here);
		else
			xappend(&text, "%.*s${env:%s}", (int)(open - at), at, variable);
		free(here);
		at = close + 1;
	}
	xappend(&text, "%s", at);
	if (foreign)
		note_foreign(import, option, variable);
	free(variable);
	return text;
}

bool import_is_elsewhere(const char *value)
{
	const char *open = strstr(value, "${");

	return open != NULL && strchr(open, '}') != NULL;
}

void import_note_elsewhere(struct import *import, const struct debezium_option *option,
			   const char *instead)
{
	import_note(import->notes, option->written, option->value,
		    "it refers to a value that stands elsewhere, where this command does not look; "
		    "it is %s%s. Write the value itself into the file, and import again",
		    instead != NULL ? "taken for " : "left out, as if the file did not have it",
		    instead != NULL ? instead : "");
}

char *import_reference(const char *value)
{
	size_t len = strlen(value);
	char *here;

	if (strncmp(value, "${", 2) != 0 || strchr(value, '}') != value + len - 1)
		return NULL;
	here = translate(value + 2, len - 3);
	if (here != NULL && strchr(here, ':') != NULL)
		return here;
	free(here);
	return NULL;
}
