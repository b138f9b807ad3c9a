/* SPDX-License-Identifier: ISC */
/*
 * token.c - what a command for tokens printed: a token, its expiry, and what else belongs to it
 *
 * The names are those of OAuth 2 (RFC 6749, 5.1), of clouds' tools, and our own.
 */
#include "internal.h"

#include "base/secret_text.h"
#include "base/xalloc.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A token that does not say when it expires is used for so long. */
#define UNKNOWN_MS (INT64_C(60) * 1000)
/* From here on a time is in milliseconds since 1970; in seconds it would be in 5138. */
#define MILLISECONDS_FROM INT64_C(100000000000)
#define NUMBER_MAX	  INT64_C(10000000000000)

/* librdkafka counts in microseconds. */
#define LONGEST_MS (INT64_C(10) * 365 * 24 * 3600 * 1000)

static const char *const token_names[] = {"token", "access_token", "accessToken", NULL};
static const char *const at_names[] = {"expires_at",	"expires_on",  "expiresAt",
				       "expiry",	"expiration",  "exp",
				       "expires_at_ms", "lifetime_ms", NULL};
static const char *const in_names[] = {"expires_in", "expiresIn", NULL};

static json_t *member(json_t *object, const char *const *names, const char **name)
{
	json_t *value = NULL;

	for (; value == NULL && *names != NULL; names++) {
		value = json_object_get(object, *names);
		*name = *names;
	}
	return json_is_null(value) ? NULL : value;
}

/* ---- times ---- */

/* A number, or a text of one; of a size that a time may have. */
static bool number_of(const json_t *value, double *number)
{
	const char *text = json_string_value(value);
	char *end = NULL;

	if (json_is_number(value)) {
		*number = json_number_value(value);
	} else if (text != NULL && *text != '\0') {
		*number = strtod(text, &end);
		if (*end != '\0')
			return false;
	} else {
		return false;
	}
	return *number >= 0 && *number <= NUMBER_MAX;
}

/* "2026-11-28T20:00:00.5Z", "... +01:00" (RFC 3339): milliseconds since 1970. A time without a zone
 * is nobody knows when. */
static bool date_of(const char *text, int64_t *at_ms)
{
	struct tm tm = {0};
	const char *rest = text != NULL ? strptime(text, "%Y-%m-%d", &tm) : NULL;
	int hours, minutes;
	char sign;

	if (rest == NULL || (*rest != 'T' && *rest != ' ') ||
	    (rest = strptime(rest + 1, "%H:%M:%S", &tm)) == NULL)
		return false;
	if (*rest == '.')
		rest += 1 + strspn(rest + 1, "0123456789");
	*at_ms = (int64_t)timegm(&tm) * 1000;
	if ((*rest == 'Z' || *rest == 'z') && rest[1] == '\0')
		return true;
	if (sscanf(rest, "%c%2d:%2d", &sign, &hours, &minutes) != 3 || strlen(rest) != 6 ||
	    (sign != '+' && sign != '-'))
		return false;
	*at_ms -= (sign == '+' ? 1 : -1) * (hours * 60 + minutes) * INT64_C(60000);
	return true;
}

/* ---- a JSON Web Token ---- */

static int base64url_digit(char c)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const char *at = c != '\0' ? strchr(digits, c) : NULL;

	return at != NULL ? (int)(at - digits) : -1;
}

/* The len characters at text decoded, with a NUL behind; NULL if they are none of base64url. */
static char *base64url_decode(const char *text, size_t len)
{
	char *out = xmalloc(len + 1);
	uint32_t bits = 0;
	size_t count = 0;

	for (size_t i = 0; i < len; i++) {
		int digit = base64url_digit(text[i]);

		if (digit < 0) {
			free(out);
			return NULL;
		}
		bits = bits << 6 | (uint32_t)digit;
		if (i % 4 != 0)
			out[count++] = (char)(bits >> (6 - 2 * (i % 4)) & 0xff);
	}
	out[count] = '\0';
	return out;
}

/* The second of its three parts, which is not encrypted (RFC 7519); NULL if it is no such token. */
static json_t *claims_of(const char *token)
{
	const char *first = strchr(token, '.'), *second = first ? strchr(first + 1, '.') : NULL;
	char *text =
	    second != NULL ? base64url_decode(first + 1, (size_t)(second - first - 1)) : NULL;
	json_t *claims = text != NULL ? json_loads(text, 0, NULL) : NULL;

	secret_wipe(&text);
	return claims;
}

/* ---- reading ---- */

static bool set_value(struct kafka_token *token, const char *value, struct error *err)
{
	/* RFC 6750, 2.1; and what librdkafka would put between others. */
	for (const char *c = value; *c != '\0'; c++)
		if (*c <= ' ' || *c > '~')
			return error_set(err,
					 "the command printed no token: it has a blank or a "
					 "character beyond ASCII; print the token alone, or JSON");
	token->value = xstrdup(value);
	return true;
}

static bool set_expiry(struct kafka_token *token, json_t *object, int64_t now_ms, struct error *err)
{
	const char *name = "";
	json_t *value = member(object, in_names, &name);
	double number;

	if (value != NULL) {
		if (!number_of(value, &number))
			return error_set(err,
					 "the command printed JSON whose \"%s\" is no time; give "
					 "seconds",
					 name);
		token->expires_ms = now_ms + (int64_t)(number * 1000);
		return true;
	}
	value = member(object, at_names, &name);
	if (value == NULL)
		return true;
	if (number_of(value, &number))
		token->expires_ms =
		    (int64_t)(number < (double)MILLISECONDS_FROM ? number * 1000 : number);
	else if (!date_of(json_string_value(value), &token->expires_ms))
		return error_set(
		    err,
		    "the command printed JSON whose \"%s\" is no time; give seconds, or "
		    "a date like \"2026-11-28T20:00:00Z\"",
		    name);
	return true;
}

static bool set_extensions(struct kafka_token *token, json_t *extensions, struct error *err)
{
	const char *name;
	json_t *value;

	if (extensions != NULL && !json_is_object(extensions))
		return error_set(err, "the command printed JSON whose \"extensions\" is no object");
	json_object_foreach(extensions, name, value)
	{
		if (token->extension_count + 2 > KAFKA_EXTENSIONS_MAX * 2)
			return error_set(err,
					 "the command printed JSON with more than %d extensions",
					 KAFKA_EXTENSIONS_MAX);
		if (!json_is_string(value))
			return error_set(err,
					 "the command printed JSON whose extension \"%s\" is no "
					 "string",
					 name);
		token->extensions[token->extension_count++] = xstrdup(name);
		token->extensions[token->extension_count++] = xstrdup(json_string_value(value));
	}
	return true;
}

static bool read_object(struct kafka_token *token, json_t *object, int64_t now_ms,
			struct error *err)
{
	const char *name = "", *principal = json_string_value(json_object_get(object, "principal"));
	const char *value = json_string_value(member(object, token_names, &name));

	if (value == NULL || *value == '\0')
		return error_set(err, "the command printed JSON without a token; print "
				      "{\"token\": \"...\", \"expires_in\": SECONDS}");
	if (principal != NULL)
		token->principal = xstrdup(principal);
	return set_value(token, value, err) && set_expiry(token, object, now_ms, err) &&
	       set_extensions(token, json_object_get(object, "extensions"), err);
}

/* What the token itself says, if it says anything. */
static void ask_claims(struct kafka_token *token)
{
	json_t *claims = claims_of(token->value);
	const char *subject = json_string_value(json_object_get(claims, "sub"));
	double exp;

	if (token->expires_ms == 0 && number_of(json_object_get(claims, "exp"), &exp))
		token->expires_ms = (int64_t)(exp * 1000);
	if (token->principal == NULL && subject != NULL)
		token->principal = xstrdup(subject);
	json_decref(claims);
}

static bool check_expiry(struct kafka_token *token, int64_t now_ms, struct error *err)
{
	if (token->expires_ms == 0)
		token->expires_ms = now_ms + UNKNOWN_MS;
	if (token->expires_ms > now_ms + LONGEST_MS)
		token->expires_ms = now_ms + LONGEST_MS;
	if (token->expires_ms > now_ms)
		return true;
	return error_set(err,
			 "the command printed a token that expired %" PRId64 " s ago; see the "
			 "clocks of this machine and of the issuer",
			 (now_ms - token->expires_ms) / 1000);
}

bool kafka_token_parse(const char *text, int64_t now_ms, struct kafka_token *token,
		       struct error *err)
{
	const char *start = text + strspn(text, " \t\r\n");
	json_t *object = *start == '{' ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
	bool good;

	*token = (struct kafka_token){.value = NULL};
	if (*start == '{' && object == NULL)
		return error_set(err, "the command printed JSON that cannot be read");
	good =
	    object != NULL ? read_object(token, object, now_ms, err) : set_value(token, text, err);
	json_decref(object);
	if (good) {
		ask_claims(token);
		good = check_expiry(token, now_ms, err);
	}
	if (good && token->principal == NULL)
		token->principal = xstrdup("outbox-relay");
	if (!good)
		kafka_token_clear(token);
	return good;
}

void kafka_token_clear(struct kafka_token *token)
{
	secret_wipe(&token->value);
	free(token->principal);
	for (size_t i = 0; i < token->extension_count; i++)
		secret_wipe(&token->extensions[i]);
	*token = (struct kafka_token){.value = NULL};
}
