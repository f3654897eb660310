output "name" {
  description = "Name of cluster and resource group."
  value       = azurerm_kubernetes_cluster.this.name
}

output "issuer" {
  description = "Address at which AWS and Azure check the tokens of the cluster's service accounts."
  value       = azurerm_kubernetes_cluster.this.oidc_issuer_url
}

output "host" {
  description = "Address of the Kubernetes API."
  value       = azurerm_kubernetes_cluster.this.kube_config[0].host
  sensitive   = true
}

output "certificate_authority" {
  description = "Certificate that the API is known by, in base64."
  value       = azurerm_kubernetes_cluster.this.kube_config[0].cluster_ca_certificate
  sensitive   = true
}
