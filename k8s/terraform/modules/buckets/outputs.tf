output "site" {
  description = "Bucket of the site: S3_BUCKET."
  value       = aws_s3_bucket.this["site"].id
}

output "data" {
  description = "Bucket of the data sets: DATASET_BUCKET."
  value       = aws_s3_bucket.this["data"].id
}

output "key" {
  description = "Key that encrypts both."
  value       = aws_kms_key.this.arn
}
