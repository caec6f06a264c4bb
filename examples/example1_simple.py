import requests
import os

# Configuration
API_URL = "http://localhost:8003/api"
VIRTUAL_KEY = os.environ.get("SAAS_LITELLM_VIRTUAL_KEY")
TEAM_ID = os.environ.get("SAAS_LITELLM_TEAM_ID")

headers = {
    "Authorization": f"Bearer {VIRTUAL_KEY}",
    "Content-Type": "application/json"
}

def simple_llm_call():
    """Simple LLM call example"""

    # 1. Create job
    print("Creating job...")
    job_response = requests.post(
        f"{API_URL}/jobs/create",
        headers=headers,
        json={
            "team_id": TEAM_ID,
            "job_type": "simple_query"
        }
    )
    job = job_response.json()
    job_id = job["job_id"]
    print(f"Created job: {job_id}")

    # 2. Make LLM call
    print("\nMaking LLM call...")
    llm_response = requests.post(
        f"{API_URL}/jobs/{job_id}/llm-call",
        headers=headers,
        json={
            "messages": [
                {"role": "user", "content": "What is Python programming?"}
            ]
        }
    )
    llm_result = llm_response.json()
    content = llm_result["response"]["content"]
    print(f"\nResponse:\n{content}")

    # 3. Complete job
    print("\nCompleting job...")
    complete_response = requests.post(
        f"{API_URL}/jobs/{job_id}/complete",
        headers=headers,
        json={"status": "completed"}
    )
    result = complete_response.json()
    print(f"Credits remaining: {result['costs']['credits_remaining']}")

if __name__ == "__main__":
    simple_llm_call()
