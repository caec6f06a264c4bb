import requests
import os
import time

API_URL = "http://localhost:8003/api"
VIRTUAL_KEY = os.environ["SAAS_LITELLM_VIRTUAL_KEY"]
TEAM_ID = os.environ["SAAS_LITELLM_TEAM_ID"]

headers = {
    "Authorization": f"Bearer {VIRTUAL_KEY}",
    "Content-Type": "application/json"
}

def llm_call_with_error_handling(prompt: str, max_retries=3):
    """Make LLM call with comprehensive error handling"""

    # Create job
    job_response = requests.post(
        f"{API_URL}/jobs/create",
        headers=headers,
        json={"team_id": TEAM_ID, "job_type": "query"}
    )
    job_id = job_response.json()["job_id"]

    for attempt in range(max_retries):
        try:
            response = requests.post(
                f"{API_URL}/jobs/{job_id}/llm-call",
                headers=headers,
                json={
                    "messages": [{"role": "user", "content": prompt}]
                },
                timeout=30
            )
            response.raise_for_status()

            # Success
            result = response.json()
            content = result["response"]["content"]

            # Complete job
            requests.post(
                f"{API_URL}/jobs/{job_id}/complete",
                headers=headers,
                json={"status": "completed"}
            )

            return content

        except requests.exceptions.Timeout:
            print(f"Timeout (attempt {attempt + 1}/{max_retries})")
            if attempt < max_retries - 1:
                time.sleep(2 ** attempt)
            else:
                # Mark job as failed
                requests.post(
                    f"{API_URL}/jobs/{job_id}/complete",
                    headers=headers,
                    json={"status": "failed"}
                )
                raise

        except requests.exceptions.HTTPError as e:
            status_code = e.response.status_code
            detail = e.response.json().get("detail", "Unknown error")

            if status_code == 401:
                print("Authentication failed")
                raise

            elif status_code == 403:
                print(f"Access denied: {detail}")
                raise

            elif status_code == 429:
                print(f"Rate limited (attempt {attempt + 1}/{max_retries})")
                if attempt < max_retries - 1:
                    time.sleep(2 ** attempt)
                else:
                    raise

            elif status_code in [500, 503]:
                print(f"Server error (attempt {attempt + 1}/{max_retries})")
                if attempt < max_retries - 1:
                    time.sleep(2 ** attempt)
                else:
                    raise

            else:
                print(f"HTTP {status_code}: {detail}")
                raise

if __name__ == "__main__":
    try:
        response = llm_call_with_error_handling("What is Python?")
        print(f"Response: {response}")
    except Exception as e:
        print(f"Failed after retries: {e}")
