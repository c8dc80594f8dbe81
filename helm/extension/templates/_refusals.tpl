{{/* Values that are allowed each by itself and do not go together: each is refused with a sentence that says why. */}}
{{- define "extension.refusals" -}}
{{- $values := .Values -}}
{{- if not $values.enabled -}}
{{- fail (printf "enabled is false, which only the chart that depends on this one can act upon: give the dependency `condition: %s.enabled`" .Chart.Name) -}}
{{- end -}}
{{- $instead := "name a Secret with the URL of a PostgreSQL database in database.existingSecret" -}}
{{- if not $values.database.existingSecret -}}
{{- $why := "the database is SQLite, a file on a volume that only one pod may use" -}}
{{- if gt (int $values.replicas) 1 -}}
{{- fail (printf "replicas is %d, but %s: keep it at 1, or %s" (int $values.replicas) $why $instead) -}}
{{- end -}}
{{- if $values.autoscaling.enabled -}}
{{- fail (printf "autoscaling.enabled is true, but %s: %s" $why $instead) -}}
{{- end -}}
{{- if $values.worker.keda.enabled -}}
{{- fail (printf "worker.keda.enabled is true, but %s: %s" $why $instead) -}}
{{- end -}}
{{- if $values.worker.enabled -}}
{{- fail (printf "worker.enabled is true, but %s: %s" $why $instead) -}}
{{- end -}}
{{- if $values.database.direct.existingSecret -}}
{{- fail (printf "database.direct.existingSecret is given, but %s: %s" $why $instead) -}}
{{- end -}}
{{- if and $values.database.persistence.existingClaim (not $values.database.persistence.enabled) -}}
{{- fail "database.persistence.existingClaim is given, but database.persistence.enabled is false, so that it would not be used" -}}
{{- end -}}
{{- end -}}

{{- if and $values.worker.enabled (include "extension.targets" . | fromJsonArray | empty) -}}
{{- fail "worker.enabled is true, but nothing says what web pods and workers are to load, which the image's own command does not tell: set extension, readyMade, handlers.inline or handlers.image" -}}
{{- end -}}
{{- with $values.worker.keda -}}
{{- if .enabled -}}
{{- if not $values.worker.enabled -}}
{{- fail "worker.keda.enabled is true, but worker.enabled is false, so that there are no pods of workers to be made more: set worker.enabled to true" -}}
{{- end -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- fail (printf "worker.keda.minReplicas is %d, more than worker.keda.maxReplicas, which is %d" (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- if eq .source "prometheus" -}}
{{- if not .prometheusAddress -}}
{{- fail "worker.keda.source is prometheus, but nothing says where that is: give worker.keda.prometheusAddress" -}}
{{- end -}}
{{- if gt (mul .deliveriesPerWorker .maxReplicas) 10000 -}}
{{- fail (printf "worker.keda.deliveriesPerWorker is %d, which for worker.keda.maxReplicas (%d) is more than 10000 deliveries, up to which metrics count a listener's: lower one of them, or set worker.keda.source to postgresql" (int .deliveriesPerWorker) (int .maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not (or $values.serviceMonitor.enabled $values.seriesMatchers) -}}
{{- $by := "nothing says what Prometheus knows the series of this release by: set serviceMonitor.enabled to true, or give seriesMatchers" -}}
{{- if and $values.worker.keda.enabled (eq $values.worker.keda.source "prometheus") -}}
{{- fail (printf "worker.keda.source is prometheus, but %s" $by) -}}
{{- end -}}
{{- if $values.prometheusRule.enabled -}}
{{- fail (printf "prometheusRule.enabled is true, but %s" $by) -}}
{{- end -}}
{{- end -}}
{{- if $values.autoscaling.enabled -}}
{{- if gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas) -}}
{{- fail (printf "autoscaling.minReplicas is %d, more than autoscaling.maxReplicas, which is %d" (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- if not (dig "requests" "cpu" "" $values.resources) -}}
{{- fail "autoscaling.enabled is true, but resources.requests.cpu is not set, of which autoscaling.targetCPUUtilizationPercentage is a share" -}}
{{- end -}}
{{- end -}}
{{- if and (eq $values.service.ipFamilyPolicy "SingleStack") (gt (len $values.service.ipFamilies) 1) -}}
{{- fail "service.ipFamilyPolicy is SingleStack, but service.ipFamilies names two: keep the one that is wanted, or set PreferDualStack" -}}
{{- end -}}
{{- if eq (int $values.port) (int $values.healthPort) -}}
{{- fail (printf "port and healthPort are both %d: two different ports are needed" (int $values.port)) -}}
{{- end -}}
{{- if $values.eventLog.enabled -}}
{{- if has (int $values.eventLog.port) (list (int $values.port) (int $values.healthPort)) -}}
{{- fail (printf "eventLog.port is %d, which port or healthPort is, too: three different ports are needed" (int $values.eventLog.port)) -}}
{{- end -}}
{{- $given := merge (dict) $values.settings $values.secrets -}}
{{- if not (or (hasKey $given "EXTENSION_EVENT_LOG_PASSWORD") (hasKey $given "EXTENSION_EVENT_LOG_TRUSTED_HEADER") (hasKey $given "EXTENSION_EVENT_LOG_OPEN")) -}}
{{- fail "eventLog.enabled is true, but nobody could log in: give secrets.EXTENSION_EVENT_LOG_PASSWORD" -}}
{{- end -}}
{{- end -}}

{{- with $values.handlers -}}
{{- if and .inline .existingConfigMap -}}
{{- fail "handlers.inline and handlers.existingConfigMap are both given: only one ConfigMap is mounted" -}}
{{- end -}}
{{- if and .existingConfigMap (not .files) -}}
{{- fail "handlers.existingConfigMap is given, but handlers.files does not say which of its files to serve: the chart cannot look into it" -}}
{{- end -}}
{{- if and .files (not .inline) (not .existingConfigMap) -}}
{{- fail "handlers.files is given, but no ConfigMap to find them in: set handlers.inline or handlers.existingConfigMap, or name files of the image in handlers.image" -}}
{{- end -}}
{{- if .inline -}}
{{- range .files -}}
{{- if not (hasKey $values.handlers.inline .) -}}
{{- fail (printf "handlers.files names %s, which is not in handlers.inline" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- with $values.tls -}}
{{- $certificate := .server.certificate -}}
{{- if and $certificate.fromSecret (or $certificate.path $certificate.key.path) -}}
{{- fail "tls.server.certificate.fromSecret and tls.server.certificate.path are both given: one of them is allowed" -}}
{{- end -}}
{{- if ne (empty $certificate.path) (empty $certificate.key.path) -}}
{{- fail "tls.server.certificate.path and tls.server.certificate.key.path are needed together" -}}
{{- end -}}
{{- if and (concat .client.certificates.fromSecrets .client.certificates.paths) (not $certificate.fromSecret) (not $certificate.path) -}}
{{- fail "tls.client.certificates asks agents for certificates, which needs TLS: set tls.server.certificate, too" -}}
{{- end -}}
{{- end -}}

{{- range $name, $secret := $values.secrets -}}
{{- if hasKey $values.settings $name -}}
{{- fail (printf "%s is in settings and in secrets: one of them is allowed" $name) -}}
{{- end -}}
{{- if eq (empty $secret.value) (empty $secret.existingSecret) -}}
{{- fail (printf "secrets.%s needs either value, or existingSecret and key" $name) -}}
{{- end -}}
{{- if ne (empty $secret.key) (empty $secret.existingSecret) -}}
{{- fail (printf "secrets.%s needs existingSecret and key together" $name) -}}
{{- end -}}
{{- end -}}
{{- $ours := dict
  "STEADYBIT_EXTENSION_PORT" "port"
  "STEADYBIT_EXTENSION_HEALTH_PORT" "healthPort"
  "STEADYBIT_EXTENSION_UNIX_SOCKET" "nothing: agents could not reach it"
  "STEADYBIT_EXTENSION_TLS_SERVER_CERT" "tls.server.certificate"
  "STEADYBIT_EXTENSION_TLS_SERVER_KEY" "tls.server.certificate"
  "STEADYBIT_EXTENSION_TLS_CLIENT_CAS" "tls.client.certificates"
  "STEADYBIT_LOG_LEVEL" "logging.level"
  "STEADYBIT_LOG_FORMAT" "logging.format"
  "EXTENSION_GRACE_PERIOD" "gracePeriodSeconds"
  "EXTENSION_EVENT_LOG_PORT" "eventLog.enabled and eventLog.port"
  "EXTENSION_EVENT_LOG_READ_ONLY" "eventLog.readOnly"
  "EXTENSION_DATABASE_URL" "database.existingSecret"
  "EXTENSION_DATABASE_DIRECT_URL" "database.direct.existingSecret" -}}
{{- range $name := concat (keys $values.settings) (keys $values.secrets) | sortAlpha -}}
{{- if hasKey $ours $name -}}
{{- fail (printf "%s is set by the chart itself: use %s" $name (get $ours $name)) -}}
{{- end -}}
{{- if hasSuffix "_FILE" $name -}}
{{- fail (printf "%s names a file: give its content as secrets.%s, which the chart mounts" $name (trimSuffix "_FILE" $name)) -}}
{{- end -}}
{{- end -}}
{{- if and $values.registration.enabled (or (hasKey $values.settings "STEADYBIT_EXTENSION_BASIC_USERNAME") (hasKey $values.secrets "STEADYBIT_EXTENSION_BASIC_USERNAME")) -}}
{{- fail "STEADYBIT_EXTENSION_BASIC_USERNAME is set, but an annotation cannot tell agents a user name and a password: set registration.enabled to false, and register by the environment of the agent" -}}
{{- end -}}
{{- end -}}

{{/* What `secrets` gives as values, as the data of a Secret; empty where there are none. */}}
{{- define "extension.secretValues" -}}
{{- range $name, $secret := .Values.secrets }}
{{- with $secret.value }}
{{ $name }}: {{ . | quote }}
{{- end }}
{{- end }}
{{- end -}}
