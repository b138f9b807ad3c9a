{{- /* SPDX-License-Identifier: ISC */ -}}
{{- /* "-dashboard" is put behind it, and a name has 63 characters at most. */ -}}
{{- define "outbox-relay.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "outbox-relay.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "outbox-relay.common" -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "outbox-relay.labels" -}}
{{ include "outbox-relay.selector" . }}
{{ include "outbox-relay.common" . }}
{{- end -}}

{{- /* Another name, so that no selector takes the Job's pod for a relay. */ -}}
{{- define "outbox-relay.migrate-labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-migrate
app.kubernetes.io/instance: {{ .Release.Name }}
{{ include "outbox-relay.common" . }}
{{- end -}}
