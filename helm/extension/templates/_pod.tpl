{{/* What is the same in the spec of every pod. */}}
{{- define "extension.podSettings" -}}
automountServiceAccountToken: false
{{- /* Variables for each service of the namespace could be taken for settings. */}}
enableServiceLinks: false
{{- with concat .Values.image.pullSecrets (dig "image" "pullSecrets" list (.Values.global | default dict)) | uniq }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName | default (dig "priorityClassName" "" (.Values.global | default dict)) }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "extension.httpGet" -}}
{{- /* A number and not a name, because agents read from it which ports their network attacks have to spare. */ -}}
httpGet:
  path: /health/{{ .check }}
  port: {{ .root.Values.healthPort }}
{{ toYaml .probe }}
{{- end -}}

{{/*
The pods of a Deployment: .root, .component (web or worker), .command (a list, empty for the image's own), .ports
(further ports by name), .resources.
*/}}
{{- define "extension.podTemplate" -}}
{{- $values := .root.Values -}}
{{- $container := dict "root" .root "part" .component -}}
{{- /* Not even a function that can make no delivery keeps agents from sending events. */ -}}
{{- $readiness := ternary "readiness/accepting" "readiness" (eq .component "web") -}}
metadata:
  annotations:
    {{- if $values.handlers.inline }}
    checksum/handlers: {{ toJson $values.handlers.inline | sha256sum }}
    {{- end }}
    {{- with include "extension.secretValues" .root }}
    checksum/secrets: {{ sha256sum . }}
    {{- end }}
    # The agent of Dynatrace has nothing to do in here.
    oneagent.dynatrace.com/injection: "false"
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "extension.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "extension.serviceAccountName" .root }}
  {{- include "extension.podSettings" .root | nindent 2 }}
  {{- with $values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  # 5 seconds for agents and proxies to learn that the pod is going, and 10 for the processes to end.
  terminationGracePeriodSeconds: {{ add $values.gracePeriodSeconds 15 }}
  {{- with $values.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: extension
      {{- include "extension.container" $container | nindent 6 }}
      {{- with .command }}
      command: {{ toJson . }}
      {{- end }}
      ports:
        {{- range $name, $port := .ports }}
        - name: {{ $name }}
          containerPort: {{ $port }}
        {{- end }}
        - name: health
          containerPort: {{ $values.healthPort }}
      {{- if eq .component "web" }}
      lifecycle:
        preStop:
          sleep:
            seconds: 5
      {{- end }}
      startupProbe:
        {{- include "extension.httpGet" (dict "root" .root "check" "liveness" "probe" $values.probes.startup) | nindent 8 }}
      readinessProbe:
        {{- include "extension.httpGet" (dict "root" .root "check" $readiness "probe" $values.probes.readiness) | nindent 8 }}
      livenessProbe:
        {{- include "extension.httpGet" (dict "root" .root "check" "liveness" "probe" $values.probes.liveness) | nindent 8 }}
      resources:
        {{- toYaml .resources | nindent 8 }}
  volumes:
    {{- include "extension.volumes" $container | nindent 4 }}
{{- end -}}
