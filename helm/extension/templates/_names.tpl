{{/* The chart's name, or the one it is given. */}}
{{- define "extension.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* What everything that is made is called; 52 characters leave room for an ending. */}}
{{- define "extension.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "extension.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "extension.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "extension.selectorLabels" -}}
app.kubernetes.io/name: {{ include "extension.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of every resource. The last two are Steadybit's, and keep the extension itself out of target discovery. */}}
{{- define "extension.labels" -}}
{{ include "extension.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.extraLabels }}
{{ toYaml . }}
{{- end }}
steadybit.com/extension: "true"
steadybit.com/discovery-disabled: "true"
{{- end -}}

{{- define "extension.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "extension.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "extension.image" -}}
{{- $global := dig "image" "registry" "" (.Values.global | default dict) -}}
{{- with .Values.image.registry | default $global }}{{ . }}/{{ end -}}
{{- .Values.image.name -}}
{{- if not .Values.image.digest }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- else }}{{ with .Values.image.tag }}:{{ . }}{{ end }}@{{ .Values.image.digest }}
{{- end -}}
{{- end -}}

{{- define "extension.pullPolicy" -}}
{{- .Values.image.pullPolicy | default (dig "image" "pullPolicy" "" (.Values.global | default dict)) | default "IfNotPresent" -}}
{{- end -}}

{{/* What Services say of IPv4 and IPv6. */}}
{{- define "extension.ipFamilies" -}}
{{- with .Values.service.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.service.ipFamilies }}
ipFamilies: {{ toJson . }}
{{- end }}
{{- end -}}

{{/* What Prometheus knows the series of the release by. */}}
{{- define "extension.series" -}}
{{- .Values.seriesMatchers | default (printf "namespace=%q,job=%q" .Release.Namespace (printf "%s-metrics" (include "extension.fullname" .))) -}}
{{- end -}}

{{- define "extension.scheme" -}}
{{- $certificate := .Values.tls.server.certificate -}}
{{- ternary "https" "http" (or $certificate.fromSecret $certificate.path | empty | not) -}}
{{- end -}}

{{- define "extension.url" -}}
{{ include "extension.scheme" . }}://{{ include "extension.fullname" . }}.{{ .Release.Namespace }}.svc:{{ .Values.port }}
{{- end -}}

{{/* The ConfigMap with handler modules, empty where there is none. */}}
{{- define "extension.handlers" -}}
{{- if .Values.handlers.inline -}}
{{ include "extension.fullname" . }}-handlers
{{- else -}}
{{ .Values.handlers.existingConfigMap }}
{{- end -}}
{{- end -}}

{{/* What is to be served and is in the image, as a JSON array: what can have tables of its own. */}}
{{- define "extension.imageTargets" -}}
{{- $ready := list -}}
{{- range concat (list .Values.extension) .Values.readyMade | compact | uniq -}}
{{- $ready = append $ready (printf "extensions/%s" .) -}}
{{- end -}}
{{- concat $ready .Values.handlers.image | toJson -}}
{{- end -}}

{{/* All that is to be served, as a JSON array. */}}
{{- define "extension.targets" -}}
{{- $files := list -}}
{{- range .Values.handlers.files | default (keys .Values.handlers.inline | sortAlpha) -}}
{{- $files = append $files (printf "/etc/extension/handlers/%s" .) -}}
{{- end -}}
{{- concat (include "extension.imageTargets" . | fromJsonArray) $files | toJson -}}
{{- end -}}
