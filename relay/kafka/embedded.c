/*
 * embedded.c - librdkafka's in-process broker, for trying things out
 *
 * It has a handle of its own, so that it and its records outlive the producers.
 */
#include "base/xalloc.h"
#include "internal.h"

#include <librdkafka/rdkafka_mock.h>
#include <string.h>

/* Thread: the broker's. */
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
	(void)rk;
	kafka_log(level, facility, text);
}

rd_kafka_mock_cluster_t *kafka_embedded_new(rd_kafka_t **handle, char **bootstrap,
					    struct error *err)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_mock_cluster_t *cluster;
	char words[512];

	rd_kafka_conf_set_log_cb(conf, on_log);
	kafka_conf_must_set(conf, "client.id", "embedded");
	*handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf, words, sizeof(words));
	if (*handle == NULL) {
		rd_kafka_conf_destroy(conf);
		error_set(err, "cannot start the embedded broker: %s", words);
		return NULL;
	}
	cluster = rd_kafka_mock_cluster_new(*handle, 1);
	if (cluster == NULL) {
		rd_kafka_destroy(*handle);
		*handle = NULL;
		error_set(err, "cannot start the embedded broker: no loopback socket");
		return NULL;
	}
	*bootstrap = xstrdup(rd_kafka_mock_cluster_bootstraps(cluster));
	return cluster;
}

bool kafka_serves_embedded(rd_kafka_t *rk, bool *is_known)
{
	char *id = rd_kafka_clusterid(rk, 0);
	/* rd_kafka_mock_cluster_new0 */
	bool yes = id != NULL && strncmp(id, "mockCluster", 11) == 0;

	*is_known = id != NULL;
	if (id != NULL)
		rd_kafka_mem_free(rk, id);
	return yes;
}

void kafka_embedded_free(rd_kafka_mock_cluster_t *cluster, rd_kafka_t *handle)
{
	if (cluster != NULL)
		rd_kafka_mock_cluster_destroy(cluster);
	if (handle != NULL)
		rd_kafka_destroy(handle);
}
