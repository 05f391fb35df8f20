output "url" {
  description = "The URL that browsers connect to"
  value       = "${aws_apigatewayv2_api.this.api_endpoint}/${var.stage}"
}

output "registration_json" {
  description = "The arguments of registerGateway, without the secret"
  value = jsonencode({
    name     = var.name
    apiId    = aws_apigatewayv2_api.this.id
    endpoint = "${replace(aws_apigatewayv2_api.this.api_endpoint, "wss://", "https://")}/${var.stage}"
    stage    = var.stage
    replies  = var.replies
  })
}

output "secret" {
  description = "The secret for registerGateway. Null for a function."
  value       = one(random_password.secret[*].result)
  sensitive   = true
}

output "manage_connections_policy" {
  description = "The IAM policy for the role of the app"
  value       = data.aws_iam_policy_document.manage_connections.json
}
