{{/*
In all of these .root is the chart's context, and .part says whose the container is: of web, worker or migration. The last
one runs before anything of the release is there.
*/}}
{{- define "extension.ownSecret" -}}
{{ include "extension.fullname" .root }}{{ ternary "-migration" "" (eq .part "migration") }}
{{- end -}}

{{- define "extension.env" -}}
{{- $values := .root.Values -}}
- name: STEADYBIT_EXTENSION_PORT
  value: {{ $values.port | quote }}
- name: STEADYBIT_EXTENSION_HEALTH_PORT
  value: {{ $values.healthPort | quote }}
- name: STEADYBIT_LOG_LEVEL
  value: {{ $values.logging.level | quote }}
- name: STEADYBIT_LOG_FORMAT
  value: {{ $values.logging.format | quote }}
- name: EXTENSION_GRACE_PERIOD
  value: {{ $values.gracePeriodSeconds | quote }}
{{- if $values.database.existingSecret }}
{{- /* The image may set the variable, which cannot be set together with its file. */}}
- name: EXTENSION_DATABASE_URL
  value: ""
- name: EXTENSION_DATABASE_URL_FILE
  value: /etc/extension/secrets/EXTENSION_DATABASE_URL
{{- if and $values.database.direct.existingSecret (ne .part "migration") }}
- name: EXTENSION_DATABASE_DIRECT_URL_FILE
  value: /etc/extension/secrets/EXTENSION_DATABASE_DIRECT_URL
{{- end }}
{{- else }}
- name: EXTENSION_DATABASE_URL
  value: sqlite:////data/extension.db
{{- end }}
{{- if eq .part "web" }}
{{- with $values.tls.server.certificate }}
{{- if .fromSecret }}
- name: STEADYBIT_EXTENSION_TLS_SERVER_CERT
  value: /etc/extension/certificates/{{ .fromSecret }}/tls.crt
- name: STEADYBIT_EXTENSION_TLS_SERVER_KEY
  value: /etc/extension/certificates/{{ .fromSecret }}/tls.key
{{- else if .path }}
- name: STEADYBIT_EXTENSION_TLS_SERVER_CERT
  value: {{ .path | quote }}
- name: STEADYBIT_EXTENSION_TLS_SERVER_KEY
  value: {{ .key.path | quote }}
{{- end }}
{{- end }}
{{- $authorities := list -}}
{{- range $values.tls.client.certificates.fromSecrets -}}
{{- $authorities = append $authorities (printf "/etc/extension/certificates/%s" .) -}}
{{- end }}
{{- with concat $authorities $values.tls.client.certificates.paths }}
- name: STEADYBIT_EXTENSION_TLS_CLIENT_CAS
  value: {{ join "," . | quote }}
{{- end }}
{{- if $values.eventLog.enabled }}
- name: EXTENSION_EVENT_LOG_PORT
  value: {{ $values.eventLog.port | quote }}
- name: EXTENSION_EVENT_LOG_READ_ONLY
  value: {{ $values.eventLog.readOnly | quote }}
{{- end }}
{{- end }}
{{- range $name, $value := $values.settings }}
- name: {{ $name }}
  {{- /* Helm reads whole numbers as floats, and would write large ones with an exponent. */}}
  {{- if and (kindIs "float64" $value) (eq (floor $value) $value) }}
  {{- $value = int64 $value }}
  {{- end }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- range $name := keys $values.secrets | sortAlpha }}
- name: {{ $name }}_FILE
  value: /etc/extension/secrets/{{ $name }}
{{- end }}
{{- with $values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Secrets whose content is mounted at /etc/extension/secrets, one file for each setting, as sources of a volume. */}}
{{- define "extension.secretSources" -}}
{{- with .root.Values.database.existingSecret }}
- secret:
    name: {{ . }}
    items:
      - key: {{ $.root.Values.database.existingSecretKey }}
        path: EXTENSION_DATABASE_URL
{{- end }}
{{- if ne .part "migration" }}
{{- with .root.Values.database.direct }}
{{- if .existingSecret }}
- secret:
    name: {{ .existingSecret }}
    items:
      - key: {{ .existingSecretKey }}
        path: EXTENSION_DATABASE_DIRECT_URL
{{- end }}
{{- end }}
{{- end }}
{{- range $name, $secret := .root.Values.secrets }}
- secret:
    name: {{ $secret.existingSecret | default (include "extension.ownSecret" $) }}
    items:
      - key: {{ $secret.key | default $name }}
        path: {{ $name }}
{{- end }}
{{- end -}}

{{/* Secrets with certificates, as a JSON array. */}}
{{- define "extension.certificates" -}}
{{- with .Values.tls -}}
{{- concat (list .server.certificate.fromSecret) .client.certificates.fromSecrets | compact | uniq | toJson -}}
{{- end -}}
{{- end -}}

{{- define "extension.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if not .root.Values.database.existingSecret }}
- name: data
  mountPath: /data
{{- end }}
{{- if and (include "extension.handlers" .root) (ne .part "migration") }}
- name: handlers
  mountPath: /etc/extension/handlers
  readOnly: true
{{- end }}
{{- if include "extension.secretSources" . }}
- name: secrets
  mountPath: /etc/extension/secrets
  readOnly: true
{{- end }}
{{- if eq .part "web" }}
{{- range $index, $secret := include "extension.certificates" .root | fromJsonArray }}
- name: certificates-{{ $index }}
  mountPath: /etc/extension/certificates/{{ $secret }}
  readOnly: true
{{- end }}
{{- end }}
{{- with .root.Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "extension.volumes" -}}
- name: tmp
  emptyDir: {}
{{- with .root.Values.database }}
{{- if not .existingSecret }}
- name: data
  {{- if .persistence.enabled }}
  persistentVolumeClaim:
    claimName: {{ .persistence.existingClaim | default (include "extension.fullname" $.root) }}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end }}
{{- end }}
{{- if and (include "extension.handlers" .root) (ne .part "migration") }}
- name: handlers
  configMap:
    name: {{ include "extension.handlers" .root }}
{{- end }}
{{- with include "extension.secretSources" . }}
- name: secrets
  projected:
    sources:
      {{- . | trim | nindent 6 }}
{{- end }}
{{- if eq .part "web" }}
{{- range $index, $secret := include "extension.certificates" .root | fromJsonArray }}
- name: certificates-{{ $index }}
  secret:
    secretName: {{ $secret }}
{{- end }}
{{- end }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Image, environment, mounts and rights. */}}
{{- define "extension.container" -}}
image: {{ include "extension.image" .root }}
imagePullPolicy: {{ include "extension.pullPolicy" .root }}
env:
  {{- include "extension.env" . | nindent 2 }}
{{- with .root.Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  {{- include "extension.volumeMounts" . | nindent 2 }}
securityContext:
  {{- toYaml .root.Values.containerSecurityContext | nindent 2 }}
{{- end -}}
