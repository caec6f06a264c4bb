"""The two patterns of the guide as one program: a job wrapper and a response helper."""

import os
from contextlib import contextmanager

import requests

API_URL = "http://localhost:8003/api"
TEAM_ID = os.environ["SAAS_LITELLM_TEAM_ID"]
headers = {
    "Authorization": f"Bearer {os.environ['SAAS_LITELLM_VIRTUAL_KEY']}",
    "Content-Type": "application/json",
}


@contextmanager
def managed_job(team_id: str, job_type: str):
    """Complete the job when the block ends, or fail it when the block raises."""
    job = requests.post(f"{API_URL}/jobs/create", headers=headers, json={"team_id": team_id, "job_type": job_type})
    job_id = job.json()["job_id"]
    try:
        yield job_id
    except Exception:
        requests.post(f"{API_URL}/jobs/{job_id}/complete", headers=headers, json={"status": "failed"})
        raise
    requests.post(f"{API_URL}/jobs/{job_id}/complete", headers=headers, json={"status": "completed"})


def get_llm_response(job_id: str, prompt: str) -> str:
    """Make a call and return the answer's text."""
    response = requests.post(
        f"{API_URL}/jobs/{job_id}/llm-call",
        headers=headers,
        json={"messages": [{"role": "user", "content": prompt}]},
    )
    return response.json()["response"]["content"]


if __name__ == "__main__":
    with managed_job(TEAM_ID, "query") as job_id:
        print(get_llm_response(job_id, "What is Python?"))
