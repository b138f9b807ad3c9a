{{- /* SPDX-License-Identifier: ISC */ -}}
{{- /* What the Deployment, the Job and an application's sidecar have in common. */ -}}

{{- /* With the mistakes that would only show when the probes have failed for a minute. */ -}}
{{- define "outbox-relay.config" -}}
{{- $config := required "config: the text of outbox-relay.conf is missing; give it by --set-file config=FILE" .Values.config -}}
{{- if not (regexMatch (printf "\"(0\\.0\\.0\\.0|\\[::\\]):%d\"" (int .Values.port)) $config) -}}
{{- fail (printf "config: http.listen must be \"0.0.0.0:%d\" (or \"[::]:%d\"), for the probes and Prometheus; by default the relay listens for its own pod only. Another port is given as the value port" (int .Values.port) (int .Values.port)) -}}
{{- end -}}
{{ $config }}
{{- end -}}

{{- define "outbox-relay.checksum" -}}
{{ include "outbox-relay.config" . | sha256sum }}
{{- end -}}

{{- define "outbox-relay.image" -}}
image: {{ if .Values.image.digest -}}
{{ printf "%s@%s" .Values.image.repository .Values.image.digest | quote }}
{{- else -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
{{- end }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end -}}

{{- define "outbox-relay.securityContext" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
  seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- /* Directories, not files by subPath: only those follow a changed secret. */ -}}
{{- define "outbox-relay.mounts" -}}
volumeMounts:
  - { name: outbox-relay, mountPath: /etc/outbox-relay, readOnly: true }
{{- range $at, $secret := .Values.secrets }}
  - { name: outbox-relay-secret-{{ $at }}, mountPath: {{ $secret.mountPath | quote }}, readOnly: true }
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . | indent 2 }}
{{- end }}
{{- end -}}

{{- /* Elements of a pod's volumes, with the ConfigMap of this name. */ -}}
{{- define "outbox-relay.volumes-of" -}}
{{- $secrets := .root.Values.secrets -}}
- name: outbox-relay
  configMap: { name: {{ .name }} }
{{- range $at, $secret := $secrets }}
- name: outbox-relay-secret-{{ $at }}
  secret: { secretName: {{ $secret.name | quote }}, defaultMode: 0440 }
{{- end }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "outbox-relay.volumes" -}}
{{ include "outbox-relay.volumes-of" (dict "root" . "name" (include "outbox-relay.fullname" .)) }}
{{- end -}}

{{- define "outbox-relay.run" -}}
{{ include "outbox-relay.image" . }}
args: ["run", "-c", "/etc/outbox-relay/outbox-relay.conf"]
ports:
  - { name: outbox-relay, containerPort: {{ .Values.port }} }
livenessProbe:
  httpGet: { path: /healthz, port: outbox-relay }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- with .Values.extraEnv }}
env:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with .Values.resources }}
resources:
{{ toYaml . | indent 2 }}
{{- end }}
{{ include "outbox-relay.securityContext" . }}
{{ include "outbox-relay.mounts" . }}
{{- end -}}

{{- /* An element of initContainers: a native sidecar. It has no readiness probe: a pod is ready only while all of its
containers are, and an outage of Kafka must not take the application out of service. */ -}}
{{- define "outbox-relay.sidecar" -}}
- name: outbox-relay
  restartPolicy: Always
{{ include "outbox-relay.run" . | indent 2 }}
{{- end -}}
