/* SPDX-License-Identifier: ISC */
/*
 * debezium.c - a configuration of Debezium, of Kafka Connect or of Debezium Server, under one set
 * of names
 */
#include "debezium.h"

#include "base/secret_text.h"
#include "base/xalloc.h"
#include "properties.h"

#include <ctype.h>
#include <fnmatch.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define POSTGRES_CONNECTOR "io.debezium.connector.postgresql.PostgresConnector"
#define OUTBOX_ROUTER	   "io.debezium.transforms.outbox.EventRouter"

enum { OPTIONS_MAX = 10000 };

/* ---- rules ---- */

const struct debezium_rule *debezium_rule(const char *name)
{
	static const struct debezium_rule unknown = {
	    .fate = DEBEZIUM_LOST,
	    .why = "unknown to the relay, and no option of Debezium or Kafka Connect that this "
		   "command knows; if it does something, find its like in docs/configuration.md"};

	for (size_t i = 0; i < debezium_rule_count; i++)
		if (fnmatch(debezium_rules[i].name, name, 0) == 0)
			return &debezium_rules[i];
	return &unknown;
}

/* ---- asked ---- */

const struct debezium_option *debezium_find(const struct debezium *debezium, const char *name)
{
	const json_t *at = json_object_get(debezium->index, name);

	return at != NULL ? &debezium->options[json_integer_value(at)] : NULL;
}

const char *debezium_value(const struct debezium *debezium, const char *name)
{
	const struct debezium_option *option = debezium_find(debezium, name);

	return option != NULL ? option->value : debezium_rule(name)->fallback;
}

const char *debezium_bare(const char *value, size_t *len)
{
	value += strspn(value, " \t\r\n");
	*len = strlen(value);
	while (*len > 0 && isspace((unsigned char)value[*len - 1]))
		--*len;
	return value;
}

bool debezium_says_true(const char *value)
{
	size_t len;

	value = debezium_bare(value, &len);
	return len == 4 && strncasecmp(value, "true", 4) == 0;
}

bool debezium_is_true(const struct debezium *debezium, const char *name)
{
	const char *value = debezium_value(debezium, name);

	return value != NULL && debezium_says_true(value);
}

/* "PostgresConnector" and "Postgres" are Connect's words for the whole name (PluginUtils). */
bool debezium_is_class(const char *value, const char *class)
{
	static const char *const kinds[] = {"Connector", "HeaderConverter", "Converter"};
	const char *simple = strrchr(class, '.') + 1;
	size_t len, simple_len = strlen(simple);

	value = debezium_bare(value, &len);
	if (len == strlen(class) && strncmp(value, class, len) == 0)
		return true;
	if (strncmp(value, simple, len) != 0)
		return false;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && len < simple_len; i++)
		if (strcmp(simple + len, kinds[i]) == 0)
			return len > 0;
	return len == simple_len;
}

char *debezium_item(const char **list)
{
	const char *item = *list + strspn(*list, " \t\r\n,");
	size_t len = strcspn(item, ",");

	*list = item + len;
	while (len > 0 && isspace((unsigned char)item[len - 1]))
		len--;
	return len > 0 ? xasprintf("%.*s", (int)len, item) : NULL;
}

/* ---- names ---- */

struct prefix {
	const char *from, *to;
};

/* The first that matches counts. */
static const struct prefix server_prefixes[] = {
    {"debezium.source.", ""},
    {"debezium.sink.kafka.producer.", "producer:"},
    {"debezium.sink.", "sink."},
    {"debezium.format.key.", "key.converter."},
    {"debezium.format.value.", "value.converter."},
    {"debezium.format.header.", "header.converter."},
    {"debezium.format.", "format."},
    {"debezium.transforms", "transforms"},
    {"debezium.predicates", "predicates"},
    {NULL, NULL},
};
static const struct prefix connect_prefixes[] = {{"producer.override.", "producer:"}, {NULL, NULL}};

/* malloc'd */
static char *common_name(const struct prefix *prefixes, const char *written)
{
	for (; prefixes->from != NULL; prefixes++) {
		size_t len = strlen(prefixes->from);

		if (strncmp(written, prefixes->from, len) == 0)
			return xasprintf("%s%s", prefixes->to, written + len);
	}
	return xstrdup(written);
}

static void add(struct debezium *debezium, const char *written, const char *value)
{
	const struct prefix *prefixes = debezium->server ? server_prefixes : connect_prefixes;
	struct debezium_option option = {.name = common_name(prefixes, written),
					 .written = xstrdup(written),
					 .value = xstrdup(value)};

	if ((debezium->count & (debezium->count - 1)) == 0)
		debezium->options = xrealloc(debezium->options, (2 * debezium->count + 1) *
								    sizeof(*debezium->options));
	debezium->options[debezium->count++] = option;
}

static void use_router(struct debezium_option *option, const char *prefix)
{
	char *name;

	if (strncmp(option->name, prefix, strlen(prefix)) != 0)
		return;
	name = xasprintf("router:%s", option->name + strlen(prefix));
	free(option->name);
	option->name = name;
}

/* What is known of each, now that the router has a name. */
static void index_options(struct debezium *debezium)
{
	char *prefix = debezium->router != NULL ? xasprintf("transforms.%s.", debezium->router)
						: xstrdup("router:");

	json_object_clear(debezium->index);
	for (size_t i = 0; i < debezium->count; i++) {
		struct debezium_option *option = &debezium->options[i];

		use_router(option, prefix);
		option->rule = debezium_rule(option->name);
		json_object_set_new(debezium->index, option->name, json_integer((json_int_t)i));
	}
	free(prefix);
}

/* ---- what kind of file it is ---- */

struct entries {
	json_t *properties; /* of all profiles */
	struct import_notes *notes;
};

/* DEBEZIUM_SINK_TYPE, as of an environment, is debezium.sink.type to Debezium Server. malloc'd. */
static char *property_name(const char *key)
{
	char *name = xstrdup(key);

	if (strncmp(key, "DEBEZIUM_", 9) != 0)
		return name;
	for (char *c = name; *c != '\0'; c++)
		*c = (char)(*c == '_' ? '.' : tolower((unsigned char)*c));
	return name;
}

static void add_entry(const char *key, const char *value, void *arg)
{
	struct entries *entries = arg;
	char *name = property_name(key);

	if (json_object_get(entries->properties, name) != NULL)
		import_note(entries->notes, name, NULL,
			    "it is in the file more than once; the last one counts");
	json_object_set_new(entries->properties, name, json_string(value));
	free(name);
}

/* Quarkus takes "%prod.NAME" instead of NAME when it runs in production; other profiles do not
 * count then. */
static void choose_profile(json_t *properties)
{
	json_t *all = json_copy(properties), *value;
	const char *name;

	json_object_foreach(all, name, value)
	{
		if (*name != '%')
			continue;
		if (strncmp(name, "%prod.", 6) == 0)
			json_object_set(properties, name + 6, value);
		json_object_del(properties, name);
	}
	json_decref(all);
}

static void look_for_class(const char *key, const char *value, void *arg)
{
	bool *found = arg;

	(void)value;
	*found |= strcmp(key, "connector.class") == 0;
}

/* Kafka Connect reads its files as ISO 8859-1, which is what Properties.load(InputStream) does
 * (Utils.loadProps). Debezium Server reads its own as UTF-8 (ConfigSourceUtil.urlToMap of SmallRye
 * Config). */
static bool read_encoded(const char *text, struct entries *entries, struct error *why)
{
	char *latin1 = properties_from_latin1(text);
	bool is_connect = false, right;
	struct error ignored;

	properties_read(latin1, look_for_class, &is_connect, &ignored);
	right = properties_read(is_connect ? latin1 : text, add_entry, entries, why);
	secret_wipe(&latin1);
	return right;
}

static json_t *read_properties(const char *text, bool *server, struct import_notes *notes,
			       struct error *err)
{
	struct entries entries = {json_object(), notes};
	struct error why;

	if (!read_encoded(text, &entries, &why)) {
		error_set(err, "is no file of properties: %s", why.text);
		json_decref(entries.properties);
		return NULL;
	}
	choose_profile(entries.properties);
	*server = json_object_get(entries.properties, "connector.class") == NULL;
	if (*server)
		debezium_expand(entries.properties, notes);
	return entries.properties;
}

static json_t *read_entries(const char *text, bool *server, struct import_notes *notes,
			    struct error *err)
{
	if (strncmp(text, "\xef\xbb\xbf", 3) == 0) /* a byte order mark */
		text += 3;
	text += strspn(text, " \t\r\n");
	*server = false;
	if (*text == '{' || *text == '[')
		return debezium_json(text, notes, err);
	return read_properties(text, server, notes, err);
}

/* ---- whether it is one of ours ---- */

static bool check_class(const struct debezium *debezium, struct error *err)
{
	const char *class = debezium_value(debezium, "connector.class");

	if (class == NULL && debezium_find(debezium, "apiVersion") == NULL)
		return error_set(err, "is no configuration of Debezium: it has neither "
				      "connector.class nor debezium.source.connector.class; give "
				      "a connector's JSON, or application.properties of Debezium "
				      "Server");
	if (class == NULL)
		return error_set(err, "is a manifest of Kubernetes in YAML; give it as JSON: "
				      "kubectl get kafkaconnector NAME -o json");
	if (debezium_is_class(class, POSTGRES_CONNECTOR))
		return true;
	if (strncmp(class, "io.debezium.", 12) == 0)
		return error_set(err,
				 "is of the connector %s; the relay publishes outboxes in "
				 "PostgreSQL only",
				 class);
	return error_set(err,
			 "is of the connector %s, which is not Debezium's for PostgreSQL "
			 "(" POSTGRES_CONNECTOR ")",
			 class);
}

static bool check_sink(const struct debezium *debezium, struct error *err)
{
	const char *sink = debezium_value(debezium, "sink.type");

	if (!debezium->server || (sink != NULL && strcmp(sink, "kafka") == 0))
		return true;
	if (sink == NULL)
		return error_set(err, "has no debezium.sink.type; the relay takes over from the "
				      "sink kafka only");
	return error_set(err, "publishes to the sink %s; the relay publishes to Kafka only", sink);
}

static bool is_router(const struct debezium *debezium, const char *alias)
{
	char *name = xasprintf("transforms.%s.type", alias);
	const char *type = debezium_value(debezium, name);
	bool is = type != NULL && debezium_is_class(type, OUTBOX_ROUTER);

	free(name);
	return is;
}

static bool find_router(struct debezium *debezium, struct error *err)
{
	const char *list = debezium_value(debezium, "transforms");
	char *alias;

	while (list != NULL && debezium->router == NULL && (alias = debezium_item(&list)) != NULL) {
		if (is_router(debezium, alias))
			debezium->router = alias;
		else
			free(alias);
	}
	if (debezium->router != NULL)
		return true;
	return error_set(err, "has no outbox event router: no transform that \"transforms\" names "
			      "is of the type " OUTBOX_ROUTER ". What it publishes are changes of "
			      "rows, which the relay does not publish");
}

/* ---- the whole ---- */

static bool check_count(const json_t *entries, struct error *err)
{
	return json_object_size(entries) <= OPTIONS_MAX ||
	       error_set(err, "has %zu options, more than any configuration of Debezium",
			 json_object_size(entries));
}

struct debezium *debezium_read(const char *text, struct import_notes *notes, struct error *err)
{
	struct debezium *debezium = xcalloc(1, sizeof(*debezium));
	json_t *entries = read_entries(text, &debezium->server, notes, err), *value;
	bool right = entries != NULL && check_count(entries, err);
	const char *name;

	debezium->index = json_object();
	if (right) {
		json_object_foreach(entries, name, value)
		{
			add(debezium, name, json_string_value(value));
		}
	}
	index_options(debezium);
	right = right && check_class(debezium, err) && check_sink(debezium, err) &&
		find_router(debezium, err);
	json_decref(entries);
	if (right)
		index_options(debezium);
	else
		debezium_free(&debezium);
	return debezium;
}

void debezium_free(struct debezium **debezium)
{
	struct debezium *d = *debezium;

	if (d == NULL)
		return;
	for (size_t i = 0; i < d->count; i++) {
		free(d->options[i].name);
		free(d->options[i].written);
		free(d->options[i].value);
	}
	free(d->options);
	free(d->router);
	json_decref(d->index);
	free(d);
	*debezium = NULL;
}
