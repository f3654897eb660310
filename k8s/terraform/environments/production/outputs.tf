output "cluster" {
  description = "For az aks get-credentials."
  value       = module.cluster.name
}

output "buckets" {
  description = "S3_BUCKET and DATASET_BUCKET."
  value       = { site = module.buckets.site, data = module.buckets.data }
}

output "roles" {
  description = "s3.roles of the chart."
  value       = module.identities.roles
}

output "charts" {
  description = "What Argo CD stands on."
  value       = module.platform.versions
}
