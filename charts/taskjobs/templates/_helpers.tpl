{{- define "taskjobs.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "taskjobs.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := include "taskjobs.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Prefix of cluster-scoped objects: two releases of one name in two namespaces do not meet. */}}
{{- define "taskjobs.clustername" -}}
{{- printf "%s-%s" .Release.Namespace (include "taskjobs.fullname" .) }}
{{- end }}

{{/* Also the name of the Lease. */}}
{{- define "taskjobs.operator" -}}
{{- include "taskjobs.fullname" . }}-operator
{{- end }}

{{- define "taskjobs.api" -}}
{{- include "taskjobs.fullname" . }}-api
{{- end }}

{{- define "taskjobs.postgresql" -}}
{{- include "taskjobs.fullname" . }}-postgresql
{{- end }}

{{- define "taskjobs.operatorAccount" -}}
{{- default (include "taskjobs.operator" .) .Values.operator.serviceAccount.name }}
{{- end }}

{{- define "taskjobs.apiAccount" -}}
{{- default (include "taskjobs.api" .) .Values.api.serviceAccount.name }}
{{- end }}

{{- define "taskjobs.labels" -}}
{{ include "taskjobs.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "taskjobs.selector" -}}
app.kubernetes.io/name: {{ include "taskjobs.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "taskjobs.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}
{{- else }}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end }}
{{- end }}
{{- end }}

{{- define "taskjobs.databaseSecret" -}}
{{- default (printf "%s-database" (include "taskjobs.fullname" .)) .Values.database.existingSecret }}
{{- end }}

{{- define "taskjobs.databaseKey" -}}
{{- if .Values.database.existingSecret }}{{ .Values.database.existingSecretKey }}{{ else }}url{{ end }}
{{- end }}

{{/* What all our pods have in common, below `spec:`. */}}
{{- define "taskjobs.pod" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .Values.hostNetwork }}
hostNetwork: true
{{- end }}
{{- with (.Values.dnsPolicy | default (ternary "ClusterFirstWithHostNet" "" .Values.hostNetwork)) }}
dnsPolicy: {{ . }}
{{- end }}
enableServiceLinks: false
{{- end }}

{{/* How a Deployment is rolled over. */}}
{{- define "taskjobs.strategy" -}}
strategy:
  type: RollingUpdate
  {{- if .Values.hostNetwork }}
  # A port of the host is free only when the old one has gone.
  rollingUpdate: {maxSurge: 0, maxUnavailable: 1}
  {{- else }}
  # The new one is ready, a standby warm, before an old one goes.
  rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  {{- end }}
{{- end }}

{{/* Where a component's pods run: (dict "of" .Values.operator "selector" {...}). */}}
{{- define "taskjobs.placement" -}}
{{- with .of.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
affinity:
{{- if .of.affinity }}
  {{- toYaml .of.affinity | nindent 2 }}
{{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- .selector | nindent 14 }}
{{- end }}
{{- with .of.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .of.topologySpreadConstraints }}
topologySpreadConstraints:
{{- range .of.topologySpreadConstraints }}
  - {{- toYaml . | nindent 4 }}
    {{- if not .labelSelector }}
    labelSelector:
      matchLabels:
        {{- $.selector | nindent 8 }}
    {{- end }}
{{- end }}
{{- end }}
{{- with .of.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
terminationGracePeriodSeconds: {{ .of.terminationGracePeriodSeconds }}
{{- end }}

{{/* The environment of the operator or the API: (dict "root" $ "of" .Values.operator). */}}
{{- define "taskjobs.env" -}}
- name: TASKJOBS_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ include "taskjobs.databaseSecret" .root }}
      key: {{ include "taskjobs.databaseKey" .root }}
- name: TASKJOBS_LOG_LEVEL
  value: {{ .of.logLevel }}
{{- range $name, $value := .of.settings }}
- name: {{ printf "TASKJOBS_%s" (upper $name) }}
  value: {{ ternary (int64 $value) $value (and (kindIs "float64" $value) (eq (floor $value) $value)) | toString | quote }}
{{- end }}
{{- with .root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- with .of.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* "true" where the operator may watch all nodes and pods. */}}
{{- define "taskjobs.watchesCluster" -}}
{{- $value := .Values.rbac.watchCluster }}
{{- if or (eq $value "Always") (and (eq $value "Auto") (not .Values.namespaces)) }}true{{ end }}
{{- end }}

{{/* "true" where the operator may watch namespaces. */}}
{{- define "taskjobs.watchesNamespaces" -}}
{{- $value := .Values.rbac.watchNamespaces }}
{{- if or (eq $value "Always") (and (eq $value "Auto") (not .Values.namespaces)) }}true{{ end }}
{{- end }}

{{/* What makes an installation that cannot work fail at once. */}}
{{- define "taskjobs.check" -}}
{{- $given := 0 }}
{{- if .Values.database.url }}{{ $given = add1 $given }}{{ end }}
{{- if .Values.database.existingSecret }}{{ $given = add1 $given }}{{ end }}
{{- if .Values.postgresql.enabled }}{{ $given = add1 $given }}{{ end }}
{{- if eq (int $given) 0 }}
{{- fail "PostgreSQL is needed: set database.existingSecret (or database.url), or postgresql.enabled=true for a trial" }}
{{- end }}
{{- if gt (int $given) 1 }}
{{- fail "name one PostgreSQL only: database.existingSecret, database.url or postgresql.enabled" }}
{{- end }}
{{- if and .Values.defaultQueue.create (not .Values.defaultQueue.quota) (ne (include "taskjobs.watchesCluster" .) "true") }}
{{- fail "the default queue follows the nodes, which this operator may not watch: set defaultQueue.quota, or rbac.watchCluster=Always, or defaultQueue.create=false" }}
{{- end }}
{{- end }}

{{/*
Of a policy's binding: the namespaces that the operator watches, if they are not all.
*/}}
{{- define "taskjobs.whereItWatches" -}}
{{- with .Values.namespaces -}}
matchResources:
  namespaceSelector:
    matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: In
        values:
          {{- toYaml . | nindent 10 }}
{{- end }}
{{- end }}
