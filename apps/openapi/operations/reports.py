"""Jobs, costs and margins for operators."""

from apps.analytics.margin import DIMENSIONS
from apps.openapi import parameters
from apps.openapi.answers.reports import JobReport, JobReports, MarginReport
from apps.openapi.operation import Operation

TAG = "Reports"

OPERATIONS = {
    "GET /api/jobs/teams/{team_id}": Operation(
        "List a team's jobs with their costs",
        answer=JobReports,
        query=(
            parameters.whole("page", "Which page.", least=1, most=1_000_000, default=1),
            parameters.whole("page_size", "How many to a page.", least=1, most=100, default=20),
            parameters.JOB_STATUS,
            parameters.text("job_type", "Only jobs of this type."),
            parameters.text("job_id_filter", "Only jobs whose id contains this."),
            *parameters.DATES,
        ),
        errors=(400,),
    ),
    "GET /api/jobs/teams/{team_id}/{job_id}": Operation(
        "Show a job with its calls and their contents", answer=JobReport, query=(*parameters.page(100),)
    ),
    "GET /api/margin": Operation(
        "Report what jobs earned",
        answer=MarginReport,
        query=(
            *parameters.DATES,
            parameters.choice("group_by", "What to group by; job types without it.", tuple(DIMENSIONS)),
            *parameters.page(100),
        ),
        errors=(400,),
    ),
}
