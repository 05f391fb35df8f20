variable "name" {
  description = "The name of the gateway, as in registerGateway"
  type        = string
}

variable "stage" {
  description = "The name of the stage"
  type        = string
  default     = "production"
}

variable "target_url" {
  description = "The URL of a view, such as https://www.example.com/ws/chat. Set this or function."
  type        = string
  default     = null

  validation {
    condition     = var.target_url == null || can(regex("^https://[^?#]*[^/?#]$", var.target_url))
    error_message = "target_url must begin with https:// and have no query, fragment or trailing slash."
  }
}

variable "function" {
  description = "A Lambda function that uses lambdaHandler. Set this or target_url."
  type = object({
    arn       = string
    role_name = string
  })
  default = null
}

variable "replies" {
  description = "How answers reach the client: route or push"
  type        = string
  default     = "route"

  validation {
    condition     = contains(["route", "push"], var.replies)
    error_message = "replies must be route or push."
  }
}

variable "throttling" {
  description = "Limits for each route"
  type = object({
    rate_per_second = number
    burst           = number
  })
  default = null
}

variable "tags" {
  description = "Tags of the API and the stage"
  type        = map(string)
  default     = {}
}
