/**
 * A canvas to draw on in white on black, with mouse, pen or finger.
 * @param {HTMLCanvasElement} canvas
 */
export function drawingPad(canvas) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  const clear = () => {
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
  };
  /** @param {PointerEvent} event */
  const draw = (event) => {
    if (!event.buttons) return;
    const [x, y] = [(event.offsetX * canvas.width) / canvas.clientWidth, (event.offsetY * canvas.height) / canvas.clientHeight];
    if (event.type === "pointerdown") {
      canvas.setPointerCapture(event.pointerId);
      context.beginPath();
      context.moveTo(x, y);
    }
    [context.strokeStyle, context.lineWidth, context.lineCap, context.lineJoin] = ["#fff", 26, "round", "round"];
    context.lineTo(x, y);
    context.stroke();
  };
  canvas.addEventListener("pointerdown", draw);
  canvas.addEventListener("pointermove", draw);
  clear();
  return { clear, pixels: () => context.getImageData(0, 0, canvas.width, canvas.height) };
}
