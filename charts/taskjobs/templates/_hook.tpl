{{/*
The objects of one hook: a service account with its rights, the script, and what runs it.
(dict "root" $ "name" "test" "hook" "test" "policy" "..." )
*/}}
{{- define "taskjobs.hookMetadata" -}}
name: {{ include "taskjobs.fullname" .root }}-{{ .name }}
labels:
  {{- include "taskjobs.labels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .name }}
annotations:
  helm.sh/hook: {{ .hook }}
  helm.sh/hook-weight: {{ .weight | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
  # Helm 3.18 and newer show what the hook's pod said, before the pod goes.
  helm.sh/hook-output-log-policy: hook-succeeded,hook-failed
{{- end }}

{{- define "taskjobs.hookContainer" -}}
- name: {{ .name }}
  image: {{ include "taskjobs.image" .root }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [python3, /scripts/hooks.py, {{ .name }}, {{ .seconds | quote }}]
  env:
    {{- range $key, $value := .env }}
    - name: {{ $key }}
      value: {{ $value | quote }}
    {{- end }}
    {{- with .root.Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  resources:
    requests: {cpu: 10m, memory: 32Mi}
    limits: {memory: 128Mi}
  securityContext:
    {{- toYaml .root.Values.securityContext | nindent 4 }}
  volumeMounts:
    - {name: scripts, mountPath: /scripts, readOnly: true}
{{- end }}
