/* SPDX-License-Identifier: ISC */
/*
 * tls.c - why a server's certificate was not accepted
 *
 * libpq says "certificate verify failed" and no more (fe-secure-openssl.c, open_client_SSL), be it
 * another CA or an expired certificate. OpenSSL has the reason in the connection's SSL object,
 * which libpq frees before it returns. So the reason is taken when OpenSSL tells that such an
 * object is freed (SSL_get_ex_new_index(3)): at that time SSL_free() has not yet touched the
 * result. A libpq that has another TLS library shows no reason.
 */
#include "postgres.h"

#include "base/xalloc.h"

#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <string.h>

/* librdkafka frees objects of its own in its threads. */
static _Thread_local long reason = X509_V_OK;

static void on_free(void *ssl, void *data, CRYPTO_EX_DATA *all, int index, long argl, void *argp)
{
	(void)data;
	(void)all;
	(void)index;
	(void)argl;
	(void)argp;
	if (ssl != NULL && SSL_get_verify_result(ssl) != X509_V_OK)
		reason = SSL_get_verify_result(ssl);
}

static void listen_once(void)
{
	SSL_get_ex_new_index(0, NULL, NULL, NULL, on_free);
}

void pg_tls_begin(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, listen_once);
	reason = X509_V_OK;
}

char *pg_tls_words(const PGconn *conn)
{
	static const char failed[] = "certificate verify failed";
	const char *words = PQerrorMessage(conn), *at = strstr(words, failed);
	const char *why = X509_verify_cert_error_string(reason);

	if (at == NULL || reason == X509_V_OK)
		return xstrdup(words);
	at += strlen(failed);
	return xasprintf("%.*s: %s%s", (int)(at - words), words, why, at);
}
